//! What every Varlink service answers about itself.

use serde_json::json;

use super::message::{Call, Reply, SERVICE_INTERFACE};

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
    use serde_json::Value;

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
