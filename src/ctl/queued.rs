//! Whether peers that are still connected also wait in the queue: a client that needs a new connection to
//! end an old one makes a drain that never ends.
//!
//! The kernel lists connections that nobody has accepted yet as those of a listener's port without an
//! inode (`get_tcp4_sock`, net/ipv4/tcp_ipv4.c). This program looks itself: it has no sandbox, and the
//! proxy has to read nothing of the kind. Where it cannot see them, because the proxy has a network of
//! its own, nothing is said.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::interface::{ConnectionStatus, ListenerStatus};
use crate::service::plural::clause;

/// Where the kernel lists them.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// States in which a client has come and the kernel lets it be accepted, net/tcp_states.h: established,
/// and one that has said everything.
const COME: [&str; 2] = ["01", "08"];

/// How many clients in the queues of these listeners come from addresses of open connections.
pub fn of_connected(listeners: &[ListenerStatus], open: &[ConnectionStatus]) -> usize {
    let listeners = addresses(listeners.iter().map(|listener| listener.address.as_str()));
    let connected = addresses(open.iter().map(|connection| connection.peer.as_str()));
    let connected: HashSet<IpAddr> = connected.iter().map(|peer| peer.ip()).collect();
    if listeners.is_empty() || connected.is_empty() {
        return 0;
    }
    LISTS
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|list| count(&list, &listeners, &connected))
        .sum()
}

/// What it can mean.
pub const MEANING: &str =
    "if a client leaves only after that, the drain never ends, see disnix-tcp-proxyctl(1)";

/// That there are so many, for people, in lines; none for none.
pub fn words(count: usize) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let clients = clause(count, "client", ("waits", "wait"));
    vec![
        format!("{clients} in the queue from addresses that are still connected:"),
        MEANING.to_owned(),
    ]
}

/// Those of TCP.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<SocketAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn count(list: &str, listeners: &[SocketAddr], connected: &HashSet<IpAddr>) -> usize {
    let waits = |line: &&str| {
        waiting(line).is_some_and(|(local, peer)| {
            let ours = |listener: &SocketAddr| {
                let (ip, everywhere) = (listener.ip(), listener.ip().is_unspecified());
                listener.port() == local.port() && (everywhere || ip == local.ip())
            };
            listeners.iter().any(ours) && connected.contains(&peer)
        })
    };
    list.lines().filter(waits).count()
}

/// The two ends of a connection that nobody has accepted, if the line is one's: proc_net_tcp(5).
fn waiting(line: &str) -> Option<(SocketAddr, IpAddr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, peer, state, inode) = (
        fields.get(1)?,
        fields.get(2)?,
        fields.get(3)?,
        fields.get(9)?,
    );
    if *inode != "0" || !COME.contains(state) {
        return None;
    }
    Some((address(local)?, address(peer)?.ip()))
}

/// Hexadecimal numbers: words of four bytes of the address as they are in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = ip.get(8 * index..8 * index + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let bytes: [u8; 16] = words.try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn those_who_were_not_accepted_count_if_their_address_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let _waiting = TcpStream::connect(here).unwrap();
        let _accepted = TcpStream::connect(here).unwrap();
        listener.accept().unwrap();
        let list = std::fs::read_to_string(LISTS[0]).unwrap();
        let count = |listener: SocketAddr, peer: &str| {
            count(&list, &[listener], &HashSet::from([peer.parse().unwrap()]))
        };
        assert_eq!(count(here, "127.0.0.1"), 1);
        assert_eq!(count(here, "192.0.2.1"), 0);
        let everywhere = |ip: &str| SocketAddr::new(ip.parse().unwrap(), here.port());
        assert_eq!(count(everywhere("0.0.0.0"), "127.0.0.1"), 1);
        assert_eq!(count(everywhere("::"), "127.0.0.1"), 1);
        assert_eq!(count(everywhere("127.0.0.2"), "127.0.0.1"), 0);
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_listener_is_an_ipv4_client() {
        let words = |ip: Ipv6Addr| {
            let words = ip.octets();
            let word = |index: usize| {
                let bytes: [u8; 4] = words[4 * index..][..4].try_into().unwrap();
                format!("{:08X}", u32::from_ne_bytes(bytes))
            };
            (0..4).map(word).collect::<String>()
        };
        let mapped = words("::ffff:192.0.2.1".parse().unwrap());
        let expected: SocketAddr = "192.0.2.1:5001".parse().unwrap();
        assert_eq!(address(&format!("{mapped}:1389")), Some(expected));
        let other = words("2001:db8::1".parse().unwrap());
        let expected: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(address(&format!("{other}:0050")), Some(expected));
    }

    #[test]
    fn what_is_no_such_line_is_nobody() {
        for line in [
            "",
            "sl local_address rem_address",
            "0: 0 0 01 0 0 0 0 0 0",
            "0: é:é é:é 01 0 0 0 0 0 0",
        ] {
            assert_eq!(waiting(line), None, "{line}");
        }
    }

    #[test]
    fn what_it_means_is_said_only_if_there_is_somebody() {
        assert!(words(0).is_empty());
        assert!(words(1)[0].starts_with("1 client waits in the queue"));
    }
}
