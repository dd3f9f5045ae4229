//! Where the control sockets are, and which units make them.

use std::path::Path;

/// Where the control sockets are: `NAME/control` for each instance.
pub const DIRECTORY: &str = "/run/disnix-tcp-proxy";

/// The unit that makes the control socket at this path, if it is where the shipped units make theirs.
pub fn unit(control: &Path) -> Option<String> {
    let name = control.strip_prefix(DIRECTORY).ok()?.parent()?.to_str()?;
    Some(match name {
        "" => return None,
        "default" => "disnix-tcp-proxy-control.socket".to_owned(),
        name => format!("disnix-tcp-proxy-control@{name}.socket"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_socket_tells_its_unit() {
        let unit = |name: &str| super::unit(&Path::new(DIRECTORY).join(name).join("control"));
        assert_eq!(
            unit("default").as_deref(),
            Some("disnix-tcp-proxy-control.socket")
        );
        assert_eq!(
            unit("web").as_deref(),
            Some("disnix-tcp-proxy-control@web.socket")
        );
        assert_eq!(super::unit(Path::new("/tmp/proxy/control")), None);
    }
}
