//! How many connections each source of clients has. Pure.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::listener::Peer;

/// Refused clients are told of at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who clients count for: an IPv4 address, or the 64 bits of an IPv6 network, which is the least that
/// one customer has (RFC 6177). Of link-local addresses all have the same network, so each counts alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address.
    Address(IpAddr),
    /// The addresses that begin with these 64 bits.
    Network(u64),
}

impl Source {
    /// The source of this client. One of AF_UNIX or vsock has none: who may connect there is said by
    /// other means.
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

/// Open connections by source.
#[derive(Debug, Default)]
pub struct Sources {
    open: HashMap<Source, usize>,
    refused: u64,
    /// Those of them that nobody was told of.
    untold: u64,
    told: Option<Uptime>,
}

impl Sources {
    /// So many are open.
    pub fn open(&self, source: Source) -> usize {
        self.open.get(&source).copied().unwrap_or(0)
    }

    /// One more.
    pub fn add(&mut self, source: Source) {
        *self.open.entry(source).or_default() += 1;
    }

    /// One less.
    pub fn remove(&mut self, source: Source) {
        if let Some(open) = self.open.get_mut(&source) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&source);
            }
        }
    }

    /// A client was refused; how many were since the last time that somebody was told, if it is time to
    /// tell again.
    pub fn refuse(&mut self, now: Uptime) -> Option<u64> {
        self.refused += 1;
        self.untold += 1;
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// Clients that were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(&Peer::Tcp(text.parse().unwrap())).unwrap()
    }

    #[test]
    fn ipv4_counts_by_address_and_ipv6_by_network() {
        for (one, other, same, text) in [
            ("192.0.2.1:1", "192.0.2.1:2", true, "192.0.2.1"),
            ("192.0.2.1:1", "192.0.2.2:1", false, "192.0.2.1"),
            (
                "[2001:db8:0:7::1]:1",
                "[2001:db8:0:7:ffff::9]:1",
                true,
                "2001:db8:0:7::/64",
            ),
            (
                "[2001:db8:0:7::1]:1",
                "[2001:db8:0:8::1]:1",
                false,
                "2001:db8:0:7::/64",
            ),
            ("[fe80::1]:1", "[fe80::2]:1", false, "fe80::1"),
            ("[::1]:1", "[::1]:2", true, "::1"),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
            assert_eq!(source(one).to_string(), text);
        }
        assert_eq!(Source::of(&Peer::Unix(Some(1))), None);
    }

    #[test]
    fn a_source_that_has_gone_is_forgotten() {
        let mut sources = Sources::default();
        let (one, other) = (source("192.0.2.1:1"), source("192.0.2.2:1"));
        sources.add(one);
        sources.add(one);
        sources.add(other);
        sources.remove(one);
        assert_eq!((sources.open(one), sources.open(other)), (1, 1));
        sources.remove(one);
        sources.remove(one);
        assert_eq!(sources.open(one), 0);
        assert_eq!(sources.open.len(), 1);
    }

    #[test]
    fn of_many_refusals_few_are_told_and_none_is_forgotten() {
        let mut sources = Sources::default();
        let at = |seconds: u64| Uptime::from_micros(seconds * 1_000_000);
        assert_eq!(sources.refuse(at(100)), Some(1));
        assert_eq!(sources.refuse(at(101)), None);
        assert_eq!(sources.refuse(at(109)), None);
        assert_eq!(sources.refuse(at(110)), Some(3));
        assert_eq!(sources.refused(), 4);
    }
}
