//! Clients in the queue from addresses that are still connected. If one ends its old connection only after it has a
//! new one, the drain never ends.
//!
//! The kernel lists a connection that is not yet accepted without an inode, at its listener's port
//! (`get_tcp4_sock`, net/ipv4/tcp_ipv4.c). This program reads the list, because it has no sandbox. It finds none
//! if the proxy has a network namespace of its own.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::interface::{ConnectionStatus, ListenerStatus};
use crate::service::plural::clause;

/// The kernel's lists, proc_net_tcp(5).
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The states in which a client can be accepted, net/tcp_states.h: established, and half-closed by the client.
const ACCEPTABLE: [&str; 2] = ["01", "08"];

/// The number of clients in the queues of these listeners that come from addresses of open connections.
pub fn of_connected(listeners: &[ListenerStatus], open: &[ConnectionStatus]) -> usize {
    let listeners = addresses(listeners.iter().map(|listener| listener.address.as_str()));
    let peers = addresses(open.iter().map(|connection| connection.peer.as_str()));
    let connected: HashSet<IpAddr> = peers.iter().map(|peer| peer.ip()).collect();
    if listeners.is_empty() || connected.is_empty() {
        return 0;
    }
    QueueLists::read().count(&listeners, |peer| connected.contains(peer))
}

/// The kernel's lists at one moment. They may be long: for several proxies they are read once.
#[derive(Debug)]
pub struct QueueLists(Vec<String>);

impl QueueLists {
    /// As they are now.
    pub fn read() -> Self {
        let lists = LISTS.iter();
        Self(
            lists
                .filter_map(|path| std::fs::read_to_string(path).ok())
                .collect(),
        )
    }

    /// The number of clients in the queues of these listeners, for a proxy that cannot be asked.
    pub fn waiting(&self, listeners: &[String]) -> usize {
        let listeners = addresses(listeners.iter().map(String::as_str));
        self.count(&listeners, |_| true)
    }

    fn count(&self, listeners: &[SocketAddr], is_counted: impl Fn(&IpAddr) -> bool) -> usize {
        let lists = self.0.iter();
        lists.map(|list| count(list, listeners, &is_counted)).sum()
    }
}

/// What such clients can mean.
pub const MEANING: &str =
    "if a client leaves only after that, the drain never ends, see disnix-tcp-proxyctl(1)";

/// The warning that there are such clients, in lines; none without clients.
pub fn warning(count: usize) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let clients = clause(count, "client", ("waits", "wait"));
    vec![
        format!("{clients} in the queue from addresses that are still connected:"),
        MEANING.to_owned(),
    ]
}

/// The addresses of TCP among these.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<SocketAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn count(list: &str, listeners: &[SocketAddr], is_peer: impl Fn(&IpAddr) -> bool) -> usize {
    let is_counted = |(local, peer): &(SocketAddr, IpAddr)| {
        let is_local = |listener: &SocketAddr| {
            let ip = listener.ip();
            listener.port() == local.port() && (ip.is_unspecified() || ip == local.ip())
        };
        listeners.iter().any(is_local) && is_peer(peer)
    };
    list.lines()
        .filter_map(ends_in_queue)
        .filter(is_counted)
        .count()
}

/// The listener's and the client's end of a connection that is not yet accepted, if the line is about one.
fn ends_in_queue(line: &str) -> Option<(SocketAddr, IpAddr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, peer, state, _, _, _, _, _, inode, ..] = fields[..] else {
        return None;
    };
    if inode != "0" || !ACCEPTABLE.contains(&state) {
        return None;
    }
    Some((address(local)?, address(peer)?.ip()))
}

/// Reads hexadecimal numbers: the address in words of four bytes as they are in memory, and the port.
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
    fn queued_clients_count_if_their_address_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let _waiting = TcpStream::connect(here).unwrap();
        let _accepted = TcpStream::connect(here).unwrap();
        listener.accept().unwrap();
        let list = std::fs::read_to_string(LISTS[0]).unwrap();
        let count = |listener: SocketAddr, peer: &str| {
            let connected: IpAddr = peer.parse().unwrap();
            count(&list, &[listener], |peer| *peer == connected)
        };
        assert_eq!(count(here, "127.0.0.1"), 1);
        assert_eq!(count(here, "192.0.2.1"), 0);
        let everywhere = |ip: &str| SocketAddr::new(ip.parse().unwrap(), here.port());
        assert_eq!(count(everywhere("0.0.0.0"), "127.0.0.1"), 1);
        assert_eq!(count(everywhere("::"), "127.0.0.1"), 1);
        assert_eq!(count(everywhere("127.0.0.2"), "127.0.0.1"), 0);
    }

    #[test]
    fn all_clients_in_the_queues_are_counted_for_a_proxy_that_cannot_be_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let listeners = [here.to_string(), "/run/web.sock".to_owned()];
        assert_eq!(QueueLists::read().waiting(&listeners), 0);
        let _waiting = [(); 2].map(|()| TcpStream::connect(here).unwrap());
        assert_eq!(QueueLists::read().waiting(&listeners), 2);
        assert_eq!(QueueLists::read().waiting(&listeners[1..]), 0);
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_listener_is_an_ipv4_client() {
        let words = |ip: Ipv6Addr| -> String {
            let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
            let octets = ip.octets();
            let words = octets.chunks(4).map(word);
            words.map(|word| format!("{word:08X}")).collect()
        };
        let mapped = words("::ffff:192.0.2.1".parse().unwrap());
        let expected: SocketAddr = "192.0.2.1:5001".parse().unwrap();
        assert_eq!(address(&format!("{mapped}:1389")), Some(expected));
        let other = words("2001:db8::1".parse().unwrap());
        let expected: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(address(&format!("{other}:0050")), Some(expected));
    }

    #[test]
    fn other_lines_have_no_client() {
        for line in [
            "",
            "sl local_address rem_address",
            "0: 0 0 01 0 0 0 0 0 0",
            "0: é:é é:é 01 0 0 0 0 0 0",
        ] {
            assert_eq!(ends_in_queue(line), None, "{line}");
        }
    }

    #[test]
    fn the_meaning_is_shown_only_if_a_client_counts() {
        assert!(warning(0).is_empty());
        assert!(warning(1)[0].starts_with("1 client waits in the queue"));
    }
}
