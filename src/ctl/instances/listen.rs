//! Where a proxy listens, as a socket unit writes it. Pure.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::service::address::Address;
use crate::service::leads_to::destination;

/// The CID that stands for all of the machine: `VMADDR_CID_ANY`, vsock(7).
const VSOCK_ANY: u32 = u32::MAX;

/// An address of `ListenStream=`, systemd.socket(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress(Address);

/// All addresses of the machine, IPv4 and IPv6.
const EVERYWHERE: &str = "::";

impl FromStr for ListenAddress {
    type Err = String;

    /// Reads `PORT`, `ADDRESS:PORT`, `[V6]:PORT`, `/PATH`, `@NAME`, and what options write for the same.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = match (text.strip_prefix('@'), text.strip_prefix("vsock::")) {
            (Some(name), _) => format!("unix:@{name}"),
            (_, Some(port)) => format!("vsock:{VSOCK_ANY}:{port}"),
            _ => text.to_owned(),
        };
        let address = Address::parse_listen(&text).map_err(|error| error.to_string())?;
        match &address {
            Address::Tcp { port: 0, .. } => {
                Err("a proxy needs a port that its clients know, and 0 is any".to_owned())
            }
            Address::Tcp { host, port } if !is_literal(host) => Err(format!(
                "systemd looks up no names: write the address for {host}, such as 127.0.0.1:{port} or \
                 [::1]:{port}, or {port} alone for all addresses of this machine"
            )),
            _ => Ok(Self(address)),
        }
    }
}

/// Whether it is an IP address, perhaps with a scope.
fn is_literal(host: &str) -> bool {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<IpAddr>().is_ok()
}

impl fmt::Display for ListenAddress {
    /// As in `ListenStream=`, without the doubled `%` of a unit file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Tcp { host, port } if host == EVERYWHERE => write!(f, "{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{name}"),
            Address::Vsock { cid, port } if *cid == VSOCK_ANY => write!(f, "vsock::{port}"),
            address => write!(f, "{address}"),
        }
    }
}

impl ListenAddress {
    /// The address itself.
    pub fn address(&self) -> &Address {
        &self.0
    }

    /// Whether it is a file.
    pub fn is_path(&self) -> bool {
        matches!(self.0, Address::Unix(_))
    }

    /// Whether one socket cannot listen on this address while another listens on `other`; `only_v6`: whether `::` is all
    /// addresses of IPv6 alone.
    pub fn overlaps(&self, other: &Self, only_v6: bool) -> bool {
        match (&self.0, &other.0) {
            (Address::Tcp { host, port }, Address::Tcp { host: to, port: at }) => {
                port == at && (covers(host, to, only_v6) || covers(to, host, only_v6))
            }
            (Address::Vsock { cid, port }, Address::Vsock { cid: to, port: at }) => {
                port == at && (cid == to || [*cid, *to].contains(&VSOCK_ANY))
            }
            (Address::Unix(path), Address::Unix(to)) => without_var(path) == without_var(to),
            (one, other) => one == other,
        }
    }

    /// Whether a connection to `target` surely arrives here. What needs a look at the machine, names but localhost
    /// for example, the proxy itself finds out.
    pub fn is_reached_by(&self, target: &Address) -> bool {
        match (&self.0, target) {
            (Address::Tcp { host, port }, Address::Tcp { host: to, port: at }) => {
                port == at && is_same_host(host, to)
            }
            (listen, target) => listen == target,
        }
    }
}

/// Whether a listener on `listen` has all clients of `other`.
fn covers(listen: &str, other: &str, only_v6: bool) -> bool {
    let address = |host: &str| {
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        address.parse::<IpAddr>()
    };
    let (Ok(at), Ok(to)) = (address(listen), address(other)) else {
        return listen == other;
    };
    match at {
        IpAddr::V6(ip) if ip.is_unspecified() => to.is_ipv6() || !only_v6,
        ip if ip.to_canonical().is_unspecified() => to.to_canonical().is_ipv4(),
        // A link-local address may be there on several links.
        ip => ip.to_canonical() == to.to_canonical() && scope(listen) == scope(other),
    }
}

fn scope(host: &str) -> Option<&str> {
    host.split_once('%').map(|(_, scope)| scope)
}

/// systemd takes /var/run for /run.
fn without_var(path: &Path) -> PathBuf {
    match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    }
}

fn is_same_host(listen: &str, target: &str) -> bool {
    if target.eq_ignore_ascii_case("localhost") {
        return ["127.0.0.1", "::1"]
            .iter()
            .any(|target| is_same_host(listen, target));
    }
    let (Ok(at), Ok(to)) = (listen.parse::<IpAddr>(), target.parse::<IpAddr>()) else {
        // With a scope.
        return listen == target;
    };
    let to = destination(to);
    match at {
        IpAddr::V4(ip) if ip.is_unspecified() => to.is_ipv4() && to.is_loopback(),
        IpAddr::V6(ip) if ip.is_unspecified() => to.is_loopback(),
        ip => ip.to_canonical() == to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_written_as_systemd_has_it() {
        for (text, written) in [
            ("80", "80"),
            ("080", "80"),
            ("[::]:80", "80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("/run/web.sock", "/run/web.sock"),
            ("unix:/run/web.sock", "/run/web.sock"),
            ("@web", "@web"),
            ("unix:@web", "@web"),
            ("vsock::80", "vsock::80"),
            ("vsock:3:80", "vsock:3:80"),
        ] {
            assert_eq!(read(text).to_string(), written);
            assert_eq!(read(written), read(text));
        }
    }

    #[test]
    fn what_systemd_would_not_take_is_refused_with_what_to_write() {
        for (text, words) in [
            ("", "is empty"),
            ("0", "0 is any"),
            ("127.0.0.1:0", "0 is any"),
            ("70000", "from 1 to 65535"),
            ("http", "port is missing"),
            ("localhost:80", "127.0.0.1:80"),
            ("web.example:80", "looks up no names"),
            ("*:80", "write 80"),
            ("::1:80", "brackets"),
            ("run/web.sock", "port is missing"),
            ("unix:web.sock", "begins with /"),
            ("@", "the name after @ is missing"),
            ("vsock::x", "not a number"),
            ("handover:/run/web", "nobody can connect"),
            ("http://web:80", "URL"),
            ("/run/a\nListenStream=22", "control character"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn two_addresses_overlap_if_one_socket_keeps_the_other_from_listening() {
        let overlaps = |one: &str, other: &str, only_v6| {
            let both = [(one, other), (other, one)];
            both.map(|(one, other)| read(one).overlaps(&read(other), only_v6))
        };
        for (one, other) in [
            ("80", "127.0.0.1:80"),
            ("80", "0.0.0.0:80"),
            ("80", "[::1]:80"),
            ("80", "[fe80::1%eth0]:80"),
            ("0.0.0.0:80", "192.0.2.1:80"),
            ("0.0.0.0:80", "[::ffff:192.0.2.1]:80"),
            ("192.0.2.1:80", "[::ffff:192.0.2.1]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("vsock::80", "vsock:3:80"),
            ("/run/web", "/var/run/web"),
            ("@web", "@web"),
        ] {
            assert_eq!(overlaps(one, other, false), [true; 2], "{one} {other}");
        }
        for (one, other) in [
            ("80", "81"),
            ("80", "127.0.0.1:81"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:80", "[::1]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth1]:80"),
            ("vsock:2:80", "vsock:3:80"),
            ("80", "vsock::80"),
            ("/run/web", "@/run/web"),
            ("/run/web", "/var/web"),
        ] {
            assert_eq!(overlaps(one, other, false), [false; 2], "{one} {other}");
        }
        for (other, expected) in [
            ("0.0.0.0:80", false),
            ("127.0.0.1:80", false),
            ("[::1]:80", true),
        ] {
            assert_eq!(overlaps("80", other, true), [expected; 2], "{other}");
        }
    }

    #[test]
    fn a_target_that_is_the_listener_itself_is_recognised() {
        let reached = |listen: &str, target: &str| {
            let target = target.parse().unwrap();
            assert!(read(listen).is_reached_by(&target), "{listen} {target}");
        };
        let missed = |listen: &str, target: &str| {
            let target = target.parse().unwrap();
            assert!(!read(listen).is_reached_by(&target), "{listen} {target}");
        };
        for target in [
            "127.0.0.1:80",
            "127.0.0.2:80",
            "0.0.0.0:80",
            "localhost:80",
            "LOCALHOST:80",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            reached("80", target);
            missed("81", target);
        }
        reached("0.0.0.0:80", "127.0.0.1:80");
        missed("0.0.0.0:80", "[::1]:80");
        reached("192.0.2.1:80", "192.0.2.1:80");
        missed("192.0.2.1:80", "192.0.2.2:80");
        missed("192.0.2.1:80", "localhost:80");
        missed("192.0.2.1:80", "web.example:80");
        missed("80", "web.example:80");
        reached("[::1]:80", "localhost:80");
        reached("[fe80::1%eth0]:80", "[fe80::1%eth0]:80");
        missed("[fe80::1%eth0]:80", "[fe80::1%eth1]:80");
        reached("/run/web", "unix:/run/web");
        reached("/run/web", "unix:/run//web/");
        missed("/run/web", "unix:@/run/web");
        missed("/run/web", "handover:/run/web");
        reached("@web", "unix:@web");
        missed("80", "unix:/80");
        reached("vsock:1:80", "vsock:1:80");
    }
}
