//! The usual place of control sockets, and their units.

use std::path::Path;

/// The directory of the control sockets: `NAME/control` for each instance.
pub const DIRECTORY: &str = "/run/disnix-tcp-proxy";

/// The unit of the control socket at this path, if the shipped units have theirs there.
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
    fn the_path_of_a_control_socket_gives_its_unit() {
        for (control, name) in [
            ("default", "disnix-tcp-proxy-control.socket"),
            ("web", "disnix-tcp-proxy-control@web.socket"),
        ] {
            let control = Path::new(DIRECTORY).join(control).join("control");
            assert_eq!(unit(&control).as_deref(), Some(name));
        }
        assert_eq!(unit(Path::new("/tmp/proxy/control")), None);
    }
}
