//! Where a program listens, and where a proxy leads: one grammar for both.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::stream::Family;
use super::text::{Printable, is_hidden};

/// The address of a stream socket, as options write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `HOST:PORT` or `[V6]:PORT`; the host may be a name that has to be looked up.
    Tcp {
        /// A name, or an IP address without brackets.
        host: String,
        /// The port, never 0 for a target.
        port: u16,
    },
    /// `unix:PATH` or `/PATH`.
    Unix(PathBuf),
    /// `unix:@NAME`: an AF_UNIX socket in the abstract namespace, see unix(7).
    Abstract(String),
    /// `handover:/PATH`: the datagram socket of a process on the same machine to which clients are
    /// handed over, see [`super::handover`]. A proxy leads there; nobody listens there.
    Handover(PathBuf),
    /// `vsock:CID:PORT`: a socket of a virtual machine or its host, see vsock(7).
    Vsock {
        /// The machine: 2 is the host, 1 this machine itself.
        cid: u32,
        /// The port.
        port: u32,
    },
}

/// What is wrong with a text that should have been an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "“{}” is not an address: {reason} \
     (examples: localhost:5000, [::1]:5000, unix:/run/app.sock, vsock:2:5000)",
    Printable(text)
)]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

/// The longest path an AF_UNIX address holds: `sun_path` less its NUL, unix(7).
const UNIX_PATH_MAX: usize = 107;

impl Address {
    /// The IP address and port, if no name has to be looked up for it.
    pub fn literal(&self) -> Option<SocketAddr> {
        let Self::Tcp { host, port } = self else {
            return None;
        };
        Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, *port))
    }

    /// The family of a socket that leads there.
    pub fn family(&self) -> Family {
        match self {
            Self::Tcp { .. } => Family::Tcp,
            Self::Unix(_) | Self::Abstract(_) | Self::Handover(_) | Self::Vsock { .. } => {
                Family::Other
            }
        }
    }

    /// Reads an address to listen on: additionally a bare `PORT`, which is that port on every
    /// address of the machine, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// When the text is neither an address nor a port, or names a place where clients are handed
    /// over: they are accepted somewhere else.
    pub fn parse_listen(text: &str) -> Result<Self, AddressError> {
        if let Ok(port) = text.parse::<u16>() {
            let host = Ipv6Addr::UNSPECIFIED.to_string();
            return Ok(Self::Tcp { host, port });
        }
        match text.parse()? {
            Self::Handover(_) => Err(AddressError {
                text: text.to_owned(),
                reason: "clients are handed over there by a proxy, and nobody can connect to it",
            }),
            address => Ok(address),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| AddressError {
            text: text.to_owned(),
            reason,
        };
        if text.contains(is_hidden) {
            return Err(fail(
                "it contains a control character, or another that cannot be seen",
            ));
        }
        if let Some(name) = text.strip_prefix("unix:@") {
            return match name.len() {
                0 => Err(fail("the name after @ is missing")),
                1..=UNIX_PATH_MAX => Ok(Self::Abstract(name.to_owned())),
                _ => Err(fail("a name may have 107 bytes")),
            };
        }
        if let Some(path) = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text))
        {
            return match path.len() {
                0 => Err(fail("the path after unix: is missing")),
                1..=UNIX_PATH_MAX => Ok(Self::Unix(PathBuf::from(path))),
                _ => Err(fail("the path of a socket may have 107 bytes")),
            };
        }
        // A machine may be called handover too: then a port follows.
        if let Some(path) = text
            .strip_prefix("handover:")
            .filter(|rest| rest.parse::<u16>().is_err())
        {
            return match path.len() {
                1..=UNIX_PATH_MAX if path.starts_with('/') => {
                    Ok(Self::Handover(PathBuf::from(path)))
                }
                0..=UNIX_PATH_MAX => Err(fail("handover: needs a path that begins with /")),
                _ => Err(fail("the path of a socket may have 107 bytes")),
            };
        }
        if let Some(rest) = text.strip_prefix("vsock:") {
            let (cid, port) = rest
                .split_once(':')
                .ok_or_else(|| fail("CID:PORT is expected"))?;
            let cid = cid.parse().map_err(|_| fail("the CID is not a number"))?;
            let port = port.parse().map_err(|_| fail("the port is not a number"))?;
            return Ok(Self::Vsock { cid, port });
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| fail("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| fail("the port is not a number between 0 and 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner
                .strip_suffix(']')
                .filter(|v6| v6.parse::<Ipv6Addr>().is_ok())
                .ok_or_else(|| fail("what is in brackets is not an IPv6 address"))?,
            None if host.contains(':') => return Err(fail("an IPv6 address needs brackets")),
            None if host.is_empty() => return Err(fail("the host is missing")),
            None if host.contains(|c: char| c.is_whitespace() || "/[]@".contains(c)) => {
                return Err(fail("the host is not a name"));
            }
            None => host,
        };
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::Handover(path) => write!(f, "handover:{}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in [
            "localhost:5000",
            "192.0.2.1:80",
            "[2001:db8::1]:80",
            "unix:/run/app.sock",
            "unix:app.sock",
            "unix:@app",
            "handover:/run/app/handover",
            "handover:80",
            "vsock:2:5000",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(
            "/run/a".parse::<Address>().unwrap().to_string(),
            "unix:/run/a"
        );
        assert_eq!(
            Address::parse_listen("5000").unwrap().to_string(),
            "[::]:5000"
        );
        assert_eq!(
            "[::1]:7".parse::<Address>().unwrap().literal(),
            "[::1]:7".parse().ok()
        );
        assert_eq!("localhost:7".parse::<Address>().unwrap().literal(), None);
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "port is missing"),
            ("5000", "port is missing"),
            ("localhost", "port is missing"),
            ("localhost:http", "not a number"),
            ("localhost:65536", "not a number"),
            (":80", "host is missing"),
            ("::1:80", "brackets"),
            ("[::1:80", "brackets"),
            ("[localhost]:80", "brackets"),
            ("a b:80", "not a name"),
            ("unix:/run/\0", "control character"),
            (
                "unix:/run/\x1b[2Jx",
                "“unix:/run/\\u{1b}[2Jx” is not an address",
            ),
            ("unix:@\u{9b}31m", "control character"),
            ("a\u{202e}b:80", "cannot be seen"),
            ("a:80\n", "control character"),
            ("unix:", "missing"),
            ("unix:@", "missing"),
            ("handover:app", "begins with /"),
            ("handover:", "begins with /"),
            ("handover:@app", "begins with /"),
            ("vsock:2", "CID:PORT"),
            ("vsock:x:1", "CID"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!(
            format!("unix:/{}", "x".repeat(107))
                .parse::<Address>()
                .is_err()
        );
        let error = Address::parse_listen("handover:/run/app").unwrap_err();
        assert!(error.to_string().contains("nobody can connect"), "{error}");
        assert_eq!(
            "handover:80".parse(),
            Ok(Address::Tcp {
                host: "handover".to_owned(),
                port: 80
            })
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_so_that_it_is_read_again(text in "\\PC{0,40}|[a-z0-9:./@\\[\\]]{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
