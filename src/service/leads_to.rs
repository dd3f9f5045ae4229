//! Whether an address leads to a listening socket of this process.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockRef};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::address::Address;
use super::kernel;
use super::listener::Listener;
use super::socket::local_address;

/// How long the resolver may take.
const RESOLVER: Duration = Duration::from_secs(2);

/// vsock(7): `VMADDR_CID_LOCAL`, this machine.
const VSOCK_LOCAL: u32 = 1;

/// The listener of these lists that an address leads to, as far as that is known without a resolver: its own
/// address or path, or any address of this machine if it listens at all of them.
pub fn listener_at<'a>(
    target: &Address,
    lists: &'a [impl AsRef<[Listener]>],
) -> Option<&'a Listener> {
    all(lists).find(|listener| match target {
        Address::Tcp { .. } => target
            .literal()
            .is_some_and(|address| leads_to(address, listener)),
        _ => has_name(target, listener),
    })
}

/// As [`listener_at`], but a name is looked up if a listener has its port.
pub async fn listener_at_name<'a>(
    target: &Address,
    lists: &'a [impl AsRef<[Listener]>],
) -> Option<&'a Listener> {
    let name = match target {
        Address::Tcp { host, port } if target.literal().is_none() => (host.as_str(), *port),
        _ => return listener_at(target, lists),
    };
    if !has_port(name.1, all(lists)) {
        return None;
    }
    // An unknown name leads nowhere.
    let found = timeout(RESOLVER, lookup_host(name)).await;
    let addresses: Vec<SocketAddr> = found.ok()?.ok()?.collect();
    all(lists).find(|listener| addresses.iter().any(|address| leads_to(*address, listener)))
}

fn all(lists: &[impl AsRef<[Listener]>]) -> impl Iterator<Item = &Listener> {
    lists.iter().flat_map(AsRef::as_ref)
}

/// Whether an address could lead to a listener by some name or interface: it has the port of one, or both are AF_UNIX.
/// A redirection of packets to another port is not seen.
pub fn may_lead_to_one(target: &Address, listeners: &[Listener]) -> bool {
    match target {
        Address::Tcp { port, .. } => has_port(*port, listeners),
        Address::Unix(_) | Address::Abstract(_) => listeners.iter().any(|listener| {
            let bound = SockRef::from(listener).local_addr();
            bound.is_ok_and(|bound| bound.domain() == Domain::UNIX)
        }),
        Address::Vsock { .. } | Address::Handover(_) => false,
    }
}

/// Whether a TCP listener in our network namespace has this port.
fn has_port<'a>(port: u16, listeners: impl IntoIterator<Item = &'a Listener>) -> bool {
    listeners.into_iter().any(|listener| {
        local_address(listener).is_some_and(|address| address.port() == port)
            && is_in_our_network(listener)
    })
}

fn leads_to(target: SocketAddr, listener: &Listener) -> bool {
    let Some(bound) = local_address(listener) else {
        return false;
    };
    let socket = SockRef::from(listener);
    // Other interfaces do not lead to a listener that is bound to one.
    let is_on_all = !matches!(socket.device(), Ok(Some(_)));
    let only_v6 = bound.is_ipv6() && socket.only_v6().unwrap_or(true);
    is_on_all
        && is_reached_by(bound, only_v6, target, is_of_this_machine)
        && is_in_our_network(listener)
}

/// Whether connecting to `target` reaches a socket that listens at `bound`.
fn is_reached_by(
    bound: SocketAddr,
    only_v6: bool,
    target: SocketAddr,
    is_local: impl Fn(IpAddr) -> bool,
) -> bool {
    if bound.port() != target.port() {
        return false;
    }
    let to = destination(target.ip());
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => to.is_ipv4() && is_local(to),
        IpAddr::V6(ip) if ip.is_unspecified() => (to.is_ipv6() || !only_v6) && is_local(to),
        ip => ip.to_canonical() == to,
    }
}

/// Where the kernel connects to: the unspecified address means this machine.
pub fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether it is an address of this machine: packets from here to there have it as their source. None is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    source().is_ok_and(|source| source == ip)
}

/// Whether a path, a name or a vsock address is that of the listener.
fn has_name(target: &Address, listener: &Listener) -> bool {
    let Ok(bound) = SockRef::from(listener).local_addr() else {
        return false;
    };
    match target {
        Address::Unix(path) => {
            let bound = bound.as_pathname();
            bound.is_some_and(|bound| bound == path || is_same_file(bound, path))
        }
        Address::Abstract(name) => {
            bound.as_abstract_namespace() == Some(name.as_bytes()) && is_in_our_network(listener)
        }
        Address::Vsock { cid, port } => {
            let bound = bound.as_vsock_address();
            bound.is_some_and(|(bound_cid, bound_port)| {
                bound_port == *port && (*cid == VSOCK_LOCAL || *cid == bound_cid)
            })
        }
        Address::Tcp { .. } | Address::Handover(_) => false,
    }
}

/// Whether both paths lead to one file, through links perhaps.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether a listener is in our network namespace. Before Linux 5.14, only those that we have bound count as such.
fn is_in_our_network(listener: &Listener) -> bool {
    is_our_network(listener).unwrap_or(!listener.is_inherited())
}

/// Whether a socket is in our network namespace; `None` where the kernel does not say.
pub fn is_our_network(socket: impl AsFd) -> Option<bool> {
    let ours = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let ours = kernel::network_cookie(ours.as_fd()).ok()?;
    let its = kernel::network_cookie(socket.as_fd()).ok()?;
    Some(ours == its)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_reached(bound: &str, only_v6: bool, target: &str) -> bool {
        let local: [IpAddr; 3] =
            ["127.0.0.9", "192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let is_local = |ip: IpAddr| ip.is_loopback() || local.contains(&ip);
        let [bound, target] = [bound, target].map(|address| address.parse().unwrap());
        is_reached_by(bound, only_v6, target, is_local)
    }

    #[test]
    fn an_address_leads_to_a_listener_with_its_port_and_address() {
        for (bound, target, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "[::1]:80", false),
            ("0.0.0.0:80", "127.9.9.9:80", true),
            ("0.0.0.0:80", "192.0.2.1:80", true),
            ("0.0.0.0:80", "192.0.2.2:80", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[2001:db8::1]:80", true),
            ("[::]:80", "[2001:db8::2]:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::1]:80", "[::]:80", true),
        ] {
            let reached = is_reached(bound, false, target);
            assert_eq!(reached, expected, "{bound} {target}");
        }
        assert!(is_reached("[::]:80", true, "[::1]:80"));
        assert!(!is_reached("[::]:80", true, "127.0.0.1:80"));
    }

    #[test]
    fn an_address_of_this_machine_is_known_by_the_source_of_what_goes_there() {
        assert!(is_of_this_machine("127.0.0.7".parse().unwrap()));
        assert!(is_of_this_machine("::1".parse().unwrap()));
        // Reserved for documentation, RFC 5737.
        assert!(!is_of_this_machine("203.0.113.9".parse().unwrap()));
    }

    #[tokio::test]
    async fn listeners_are_found_by_address_name_and_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("front").display().to_string();
        let front = format!("unix:{path}").parse().unwrap();
        let tcp = Address::parse_listen("0.0.0.0:0").unwrap();
        let listeners = Listener::bind_all(&[front, tcp]).unwrap();
        let port = local_address(&listeners[1]).unwrap().port();
        let link = directory.path().join("link").display().to_string();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for (target, expected) in [
            (format!("unix:{path}"), Some(0)),
            (path.clone(), Some(0)),
            (path.replace("/front", "/./front"), Some(0)),
            (link, Some(0)),
            (format!("{path}.other"), None),
            (format!("127.0.0.1:{port}"), Some(1)),
            (format!("localhost:{port}"), Some(1)),
            (format!("unknown.invalid:{port}"), None),
            (format!("127.0.0.1:{}", port ^ 1), None),
        ] {
            let target: Address = target.parse().unwrap();
            let found = listener_at_name(&target, std::slice::from_ref(&listeners)).await;
            let expected = expected.map(|index: usize| listeners[index].to_string());
            assert_eq!(found.map(|found| found.to_string()), expected, "{target}");
        }
    }
}
