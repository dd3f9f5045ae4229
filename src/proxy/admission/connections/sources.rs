//! How many connections each source of clients has. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::listener::Peer;

/// The least time between two messages about refused clients.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What clients are counted by: an IPv4 address, or the first 64 bits of an IPv6 address, the smallest
/// network that a customer has (RFC 6177). All link-local addresses share a network, so each is counted
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Address(IpAddr),
    Network(u64),
}

impl Source {
    /// The source of a client; `None` for AF_UNIX and vsock, whose clients are limited by other means.
    pub fn of(peer: &Peer) -> Option<Self> {
        let Peer::Tcp(address) = peer else {
            return None;
        };
        Some(match address.ip() {
            IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_loopback() => {
                Self::Network((ip.to_bits() >> 64) as u64)
            }
            ip => Self::Address(ip),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => ip.fmt(f),
            Self::Network(bits) => {
                let network = Ipv6Addr::from_bits(u128::from(*bits) << 64);
                write!(f, "{network}/64")
            }
        }
    }
}

/// Open connections by source, and clients that were refused because their source had too many.
#[derive(Debug, Default)]
pub struct Sources {
    /// The most connections of one source.
    most: usize,
    open: HashMap<Source, usize>,
    pub(super) refused: u64,
    /// How many of them were reported, and when.
    reported: u64,
    reported_at: Option<Uptime>,
}

impl Sources {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    pub fn add(&mut self, client: &Peer) {
        if let Some(source) = Source::of(client) {
            *self.open.entry(source).or_default() += 1;
        }
    }

    pub fn remove(&mut self, client: &Peer) {
        let Some(source) = Source::of(client) else {
            return;
        };
        if let Entry::Occupied(mut open) = self.open.entry(source) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// The source of a client and its connections, if it may have no more.
    pub fn full(&self, client: &Peer) -> Option<(Source, usize)> {
        let source = Source::of(client)?;
        let open = self.open.get(&source).copied().unwrap_or(0);
        (open >= self.most).then_some((source, open))
    }

    /// Counts a refused client. Returns the number since the last report if the next report is due.
    pub fn refuse(&mut self, now: Uptime) -> Option<u64> {
        self.refused += 1;
        if self.reported_at.is_some_and(|at| now < at + REPORT_EVERY) {
            return None;
        }
        self.reported_at = Some(now);
        let reported = std::mem::replace(&mut self.reported, self.refused);
        Some(self.refused - reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::Tcp(text.parse().unwrap())
    }

    #[test]
    fn ipv4_counts_by_address_and_ipv6_by_network() {
        let network = "2001:db8:0:7::/64";
        for (one, other, same, text) in [
            ("192.0.2.1:1", "192.0.2.1:2", true, "192.0.2.1"),
            ("192.0.2.1:1", "192.0.2.2:1", false, "192.0.2.1"),
            (
                "[2001:db8:0:7::1]:1",
                "[2001:db8:0:7:ffff::9]:1",
                true,
                network,
            ),
            ("[2001:db8:0:7::1]:1", "[2001:db8:0:8::1]:1", false, network),
            ("[fe80::1]:1", "[fe80::2]:1", false, "fe80::1"),
            ("[::1]:1", "[::1]:2", true, "::1"),
        ] {
            let [one, other] = [one, other].map(|text| Source::of(&peer(text)).unwrap());
            assert_eq!(one == other, same, "{one} {other}");
            assert_eq!(one.to_string(), text);
        }
        assert_eq!(Source::of(&Peer::Unix(Some(1))), None);
    }

    #[test]
    fn a_source_that_has_gone_is_forgotten() {
        let mut sources = Sources::new(1);
        let (one, other) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
        let open = |sources: &Sources, peer| sources.full(peer).map(|(_, open)| open);
        sources.add(&one);
        sources.add(&one);
        sources.add(&other);
        sources.remove(&one);
        assert_eq!(open(&sources, &one), Some(1));
        assert_eq!(open(&sources, &other), Some(1));
        sources.remove(&one);
        sources.remove(&one);
        assert_eq!(open(&sources, &one), None);
        assert_eq!(sources.open.len(), 1);
    }

    #[test]
    fn of_many_refusals_few_are_logged_and_all_are_counted() {
        let mut sources = Sources::new(1);
        let at = |seconds: u64| Uptime::from_micros(seconds * 1_000_000);
        assert_eq!(sources.refuse(at(100)), Some(1));
        assert_eq!(sources.refuse(at(101)), None);
        assert_eq!(sources.refuse(at(109)), None);
        assert_eq!(sources.refuse(at(110)), Some(3));
        assert_eq!(sources.refused, 4);
    }
}
