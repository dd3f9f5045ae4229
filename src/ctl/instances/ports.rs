//! Whether an address is free. Nobody is connected to for that, and nothing listens meanwhile.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listen::ListenAddress;
use crate::service::address::Address;
use crate::service::socket_file::instead_of_socket;

/// Why a proxy cannot listen there, as a sentence; `None` also if that cannot be told.
pub fn objection(listen: &ListenAddress) -> Option<String> {
    match listen.address() {
        Address::Unix(path) => path_objection(path),
        Address::Abstract(_) => is_listened_on(&listen.to_string())
            .then(|| format!("{listen} is in use: somebody listens there")),
        address => {
            let error = bind(address.literal()?).err()?;
            let port = address.literal()?.port();
            (error.kind() == io::ErrorKind::AddrInUse).then(|| {
                format!(
                    "{listen} is in use, by the service itself perhaps (`ss -ltnp 'sport = :{port}'` shows \
                     it): move that to another port or to 127.0.0.1 first, and to its new address the --target"
                )
            })
        }
    }
}

/// Binds as systemd does for `BindIPv6Only=both`, and does not listen.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))
}

fn path_objection(path: &Path) -> Option<String> {
    let shown = path.display();
    if let Some(kind) = instead_of_socket(path) {
        return Some(format!(
            "{shown} is {kind}, which systemd would remove to listen there: choose another path"
        ));
    }
    is_listened_on(&shown.to_string()).then(|| format!("{shown} is in use: somebody listens there"))
}

/// Whether an AF_UNIX socket of our network namespace listens at this path or `@NAME`.
fn is_listened_on(name: &str) -> bool {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let wanted = without_links(name);
    // The table has each path as its listener wrote it: /var/run/web or /run/web.
    let is_it =
        |other: &str| other == name || other.starts_with('/') && without_links(other) == wanted;
    table.lines().filter_map(listener_name).any(is_it)
}

/// The path without links in its directory.
fn without_links(path: &str) -> PathBuf {
    let path = Path::new(path);
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The name of a listening socket in a line of /proc/net/unix, proc_net(5).
fn listener_name(line: &str) -> Option<&str> {
    /// `__SO_ACCEPTCON` of the kernel's include/linux/net.h.
    const LISTENS: u32 = 1 << 16;
    let flags = line.split_whitespace().nth(3)?;
    let mut rest = line;
    for _ in 0..7 {
        let word = rest.trim_start();
        rest = &word[word.find(' ')?..];
    }
    let is_listener = u32::from_str_radix(flags, 16).ok()? & LISTENS != 0;
    rest.strip_prefix(' ').filter(|_| is_listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    fn objection_to(text: &str) -> Option<String> {
        objection(&text.parse().unwrap())
    }

    #[test]
    fn a_port_is_in_use_while_somebody_listens_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        let same = address.to_string();
        for text in [&same, &port.to_string()] {
            let why = objection_to(text).unwrap();
            assert!(
                why.contains("in use") && why.contains(&port.to_string()),
                "{why}"
            );
        }
        assert_eq!(objection_to(&format!("127.0.0.2:{port}")), None);
        drop(listener);
        assert_eq!(objection_to(&same), None);
        // The machine does not have it (yet).
        assert_eq!(objection_to("192.0.2.1:80"), None);
        assert_eq!(objection_to("[fe80::1%none]:80"), None);
        assert_eq!(objection_to("vsock::80"), None);
    }

    #[test]
    fn a_path_is_free_if_nothing_or_a_left_over_socket_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let text = path.to_str().unwrap();
        assert_eq!(objection_to(text), None);
        let listener = UnixListener::bind(&path).unwrap();
        assert!(objection_to(text).unwrap().contains("somebody listens"));
        // systemd would remove it, by whatever way.
        let way = directory.path().join("way");
        std::os::unix::fs::symlink(directory.path(), &way).unwrap();
        let other = way.join("socket");
        let why = objection_to(other.to_str().unwrap()).unwrap();
        assert!(why.contains("somebody listens"), "{why}");
        drop(listener);
        assert_eq!(objection_to(text), None);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let why = objection_to(file.to_str().unwrap()).unwrap();
        assert!(why.contains("is a file"), "{why}");
    }

    #[test]
    fn a_name_is_in_use_while_somebody_listens_on_it() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("disnix-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let text = format!("@{name}");
        assert_eq!(objection_to(&text), None);
        let _listener = UnixListener::bind_addr(&address).unwrap();
        assert!(objection_to(&text).unwrap().contains("somebody listens"));
    }

    #[test]
    fn in_the_table_of_the_kernel_listeners_are_told_from_others() {
        for (line, name) in [
            (
                "0: 00000002 00000000 00010000 0001 01 17014 /run/a b",
                Some("/run/a b"),
            ),
            (
                "0: 00000002 00000000 00010000 0001 01     7 @web",
                Some("@web"),
            ),
            ("0: 00000003 00000000 00000000 0001 03 17014 /run/a", None),
            ("0: 00000003 00000000 00010000 0001 01 17014", None),
            (
                "Num       RefCount Protocol Flags    Type St Inode Path",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(listener_name(line), name, "{line}");
        }
    }
}
