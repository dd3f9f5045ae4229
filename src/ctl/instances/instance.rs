//! The names of a proxy's units and files. Pure.

use crate::ctl::find::{NAME_MAX, is_name};

/// The name of a proxy that the units with an `@` are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// The error is a sentence.
    pub fn new(name: &str) -> Result<Self, String> {
        match name {
            "default" => Err(
                "“default” is the name of the proxy of disnix-tcp-proxy.service, which has units of its \
                 own: choose another name, web for example"
                    .to_owned(),
            ),
            name if is_name(name) => Ok(Self(name.to_owned())),
            name => Err(format!(
                "“{name}” cannot be the name of a proxy: its units and its user have it in their names, so \
                 it has letters, digits, - and _, at most {NAME_MAX}"
            )),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The unit of the listening sockets.
    pub fn socket(&self) -> String {
        format!("disnix-tcp-proxy@{}.socket", self.0)
    }

    /// The unit of the control socket.
    pub fn control_socket(&self) -> String {
        format!("disnix-tcp-proxy-control@{}.socket", self.0)
    }

    /// The unit of the proxy.
    pub fn service(&self) -> String {
        format!("disnix-tcp-proxy@{}.service", self.0)
    }

    /// The unit of the pause before a proxy is started again.
    pub fn pause(&self) -> String {
        format!("disnix-tcp-proxy-pause@{}.service", self.0)
    }

    /// The directory of the drop-ins of a unit.
    pub fn drop_ins(unit: &str) -> String {
        format!("/etc/systemd/system/{unit}.d")
    }

    /// The drop-in with the addresses for clients.
    pub fn listen_file(&self) -> String {
        format!("{}/listen.conf", Self::drop_ins(&self.socket()))
    }

    /// The drop-in with what the proxy has to do with other units.
    pub fn service_file(&self) -> String {
        format!("{}/service.conf", Self::drop_ins(&self.service()))
    }

    /// The file with the proxy's options.
    pub fn environment_file(&self) -> String {
        format!("/etc/disnix-tcp-proxy/{}.env", self.0)
    }

    /// All files that `add` may write for it.
    pub fn files(&self) -> [String; 3] {
        [
            self.listen_file(),
            self.service_file(),
            self.environment_file(),
        ]
    }

    /// All of its units.
    pub fn units(&self) -> [String; 4] {
        [
            self.socket(),
            self.control_socket(),
            self.service(),
            self.pause(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_files_have_the_name_in_theirs() {
        let web = Instance::new("web-1").unwrap();
        assert_eq!(
            web.listen_file(),
            "/etc/systemd/system/disnix-tcp-proxy@web-1.socket.d/listen.conf"
        );
        assert_eq!(
            web.service_file(),
            "/etc/systemd/system/disnix-tcp-proxy@web-1.service.d/service.conf"
        );
        assert_eq!(web.environment_file(), "/etc/disnix-tcp-proxy/web-1.env");
        assert_eq!(
            web.control_socket(),
            "disnix-tcp-proxy-control@web-1.socket"
        );
        assert_eq!(web.pause(), "disnix-tcp-proxy-pause@web-1.service");
    }

    #[test]
    fn a_name_that_units_cannot_have_is_refused() {
        let long = "x".repeat(NAME_MAX + 1);
        for name in ["", ".", "..", "a/b", "a.b", "a@b", "a b", "ü", "%i", &long] {
            let error = Instance::new(name).unwrap_err();
            assert!(error.contains("letters, digits"), "{error}");
        }
        assert!(Instance::new("default").unwrap_err().contains("default"));
        Instance::new(&long[1..]).unwrap();
    }
}
