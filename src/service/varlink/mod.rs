//! Varlink, systemd's own way to call a program: JSON messages over an AF_UNIX stream, each ended
//! by a NUL byte (<https://varlink.org/Method-Call>).
//!
//! The messages and their framing only; what a service does with a call is its own affair. A peer
//! can make us hold no more than the given limit of bytes, whatever it sends. Descriptors that a
//! peer sends are taken only where they are expected; elsewhere the kernel closes them.

mod connection;

pub use connection::{Connection, ReceiveError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The interface that every Varlink service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// A method call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method: `org.example.Interface.Method`.
    pub method: String,
    /// The parameters, an object.
    #[serde(default)]
    pub parameters: Value,
    /// Whether the caller takes more than one reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Whether the caller wants no reply at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
}

/// A reply, or an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The name of the error, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is replied.
    #[serde(default)]
    pub parameters: Value,
    /// Whether more replies to the same call follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

impl Reply {
    /// The only or last reply.
    pub fn last(parameters: impl Serialize) -> Self {
        Self {
            parameters: to_value(parameters),
            ..Self::default()
        }
    }

    /// A reply that more will follow.
    pub fn continued(parameters: impl Serialize) -> Self {
        Self {
            continues: true,
            ..Self::last(parameters)
        }
    }

    /// The error `name`, with its interface.
    pub fn error(name: impl Into<String>, parameters: impl Serialize) -> Self {
        Self {
            error: Some(name.into()),
            ..Self::last(parameters)
        }
    }

    /// The error for a parameter that is missing or of the wrong type.
    pub fn invalid_parameter(parameter: &str) -> Self {
        Self::error(
            format!("{SERVICE_INTERFACE}.InvalidParameter"),
            json!({ "parameter": parameter }),
        )
    }

    /// The error for a method that the interface does not have.
    pub fn method_not_found(method: &str) -> Self {
        Self::error(
            format!("{SERVICE_INTERFACE}.MethodNotFound"),
            json!({ "method": method }),
        )
    }

    /// The error for a call that makes sense only with `more`.
    pub fn expected_more() -> Self {
        Self::error(format!("{SERVICE_INTERFACE}.ExpectedMore"), json!({}))
    }
}

/// Our types have string keys and no unusual numbers, so that this cannot fail.
fn to_value(parameters: impl Serialize) -> Value {
    serde_json::to_value(parameters).unwrap_or(Value::Null)
}

/// What a service says of itself to `org.varlink.service`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceInfo {
    /// The program.
    pub product: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// Where its source is.
    pub url: &'static str,
    /// The name of its one interface.
    pub interface: &'static str,
    /// The interface's description, in Varlink's own language.
    pub description: &'static str,
}

/// `org.varlink.service` itself, as <https://varlink.org/Service> has it.
const SERVICE_DESCRIPTION: &str = "\
interface org.varlink.service

method GetInfo() -> (
  vendor: string, product: string, version: string, url: string, interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
";

impl ServiceInfo {
    /// The answer to a call of `org.varlink.service`, or to one of an interface that this service
    /// does not have; `None` when the call is one of [`Self::interface`].
    pub fn answer(&self, call: &Call) -> Option<Reply> {
        let (interface, method) = call.method.rsplit_once('.').unwrap_or(("", &call.method));
        if interface == self.interface {
            return None;
        }
        if interface != SERVICE_INTERFACE {
            return Some(interface_not_found(interface));
        }
        Some(match method {
            "GetInfo" => Reply::last(json!({
                "vendor": "disnix-proxy-example",
                "product": self.product,
                "version": self.version,
                "url": self.url,
                "interfaces": [SERVICE_INTERFACE, self.interface],
            })),
            "GetInterfaceDescription" => match call.parameters["interface"].as_str() {
                Some(name) if name == self.interface => {
                    Reply::last(json!({ "description": self.description }))
                }
                Some(SERVICE_INTERFACE) => {
                    Reply::last(json!({ "description": SERVICE_DESCRIPTION }))
                }
                Some(other) => interface_not_found(other),
                None => Reply::invalid_parameter("interface"),
            },
            _ => Reply::method_not_found(&call.method),
        })
    }
}

fn interface_not_found(interface: &str) -> Reply {
    Reply::error(
        format!("{SERVICE_INTERFACE}.InterfaceNotFound"),
        json!({ "interface": interface }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_describes_itself() {
        let info = ServiceInfo {
            product: "p",
            version: "1",
            url: "u",
            interface: "org.example.I",
            description: "interface org.example.I",
        };
        let call = |method: &str, parameters| Call {
            method: method.to_owned(),
            parameters,
            ..Call::default()
        };
        let described = info
            .answer(&call(
                "org.varlink.service.GetInterfaceDescription",
                json!({ "interface": "org.example.I" }),
            ))
            .unwrap();
        assert_eq!(
            described.parameters["description"],
            "interface org.example.I"
        );
        assert!(
            info.answer(&call("org.example.I.Method", Value::Null))
                .is_none()
        );
        let error = |call: &Call| info.answer(call).unwrap().error.unwrap();
        assert!(error(&call("org.example.J.M", Value::Null)).ends_with("InterfaceNotFound"));
        assert!(error(&call("nonsense", Value::Null)).ends_with("InterfaceNotFound"));
        assert!(error(&call("org.varlink.service.M", Value::Null)).ends_with("MethodNotFound"));
    }
}
