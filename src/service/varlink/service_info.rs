//! `org.varlink.service`: what every Varlink service answers about itself.

use serde_json::json;

use super::message::{Call, Reply, SERVICE_INTERFACE};

/// The description of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceInfo {
    /// The program.
    pub product: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// The address of its source.
    pub url: &'static str,
    /// The name of its one interface.
    pub interface: &'static str,
    /// The interface's definition in Varlink.
    pub description: &'static str,
}

/// The definition of `org.varlink.service`: <https://varlink.org/Service>.
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
    /// Answers a call of `org.varlink.service` or an unknown interface; `None` for one of [`Self::interface`].
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
    Reply::service_error("InterfaceNotFound", json!({ "interface": interface }))
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
        let describe = call(
            "org.varlink.service.GetInterfaceDescription",
            json!({ "interface": "org.example.I" }),
        );
        let reply = info.answer(&describe).unwrap();
        assert_eq!(reply.parameters["description"], info.description);
        assert_eq!(info.answer(&call("org.example.I.M", Value::Null)), None);
        for (method, error) in [
            ("org.example.J.M", "InterfaceNotFound"),
            ("nonsense", "InterfaceNotFound"),
            ("org.varlink.service.M", "MethodNotFound"),
        ] {
            let reply = info.answer(&call(method, Value::Null)).unwrap();
            assert!(reply.error.unwrap().ends_with(error), "{method}");
        }
    }
}
