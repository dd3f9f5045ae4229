//! Addresses: where a program listens, and where a proxy leads.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::printable::Printable;
use super::stream::Family;

/// The address of a socket, as options write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `HOST:PORT` or `[V6]:PORT`.
    Tcp {
        /// A name, or an IP address without brackets; a link-local one with its scope: `fe80::1%eth0`.
        host: String,
        /// The port, never 0 for a target.
        port: u16,
    },
    /// `unix:PATH` or `/PATH`.
    Unix(PathBuf),
    /// `unix:@NAME`: an AF_UNIX socket in the abstract namespace, see unix(7).
    Abstract(String),
    /// `handover:/PATH`: the handover socket of a service on this machine, see [`super::handover`]. Only a target.
    Handover(PathBuf),
    /// `vsock:CID:PORT`: a socket of a virtual machine or its host, see vsock(7).
    Vsock {
        /// The machine: 2 is the host, 1 this machine itself.
        cid: u32,
        /// The port.
        port: u32,
    },
}

/// What is wrong with a text that should be an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "“{}” is not an address: {reason} ({})",
    Printable(&shortened(text)),
    Printable(&shortened(advice.as_deref().unwrap_or(EXAMPLES)))
)]
pub struct AddressError {
    pub(super) text: String,
    pub(super) reason: &'static str,
    /// What to write instead, if that can be guessed.
    pub(super) advice: Option<String>,
}

const EXAMPLES: &str = "examples: localhost:5000, [::1]:5000, unix:/run/app.sock, vsock:2:5000";

/// The most characters of a text that an error repeats: a file may have many more.
const SHOWN_MAX: usize = 300;

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// The longest path or name of an AF_UNIX address: `sun_path` less its NUL, unix(7).
pub const UNIX_PATH_MAX: usize = 107;

/// Reads the path of a socket, for an option. The error is a sentence, for one that is too long.
pub(crate) fn socket_path(path: PathBuf) -> Result<PathBuf, String> {
    match path.as_os_str().len() {
        0..=UNIX_PATH_MAX => Ok(path),
        length => Err(format!(
            "the path of a socket may have {UNIX_PATH_MAX} bytes, and this has {length}"
        )),
    }
}

impl Address {
    /// The IP address and port; `None` for a name, an address with a scope, and other kinds.
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

    fn read(text: &str) -> Address {
        text.parse().unwrap()
    }

    /// Checks that each text is refused, and that the error contains the sentence beside it.
    fn refused_by(parse: fn(&str) -> Result<Address, AddressError>, table: &[(&str, &str)]) {
        for (text, reason) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    fn read_error(text: &str) -> String {
        text.parse::<Address>().unwrap_err().to_string()
    }

    fn refused(table: &[(&str, &str)]) {
        refused_by(str::parse, table);
    }

    /// Of a machine with one service.
    fn port(name: &str) -> Option<u16> {
        (name == "http").then_some(80)
    }

    fn target(text: &str) -> Result<Address, AddressError> {
        Address::parse_target_with(text, &port)
    }

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in [
            "localhost:5000",
            "192.0.2.1:80",
            "[2001:db8::1]:80",
            "unix:/run/app.sock",
            "[fe80::1%eth0]:80",
            "[fe80::1%2]:80",
            "[fe80::1%25]:80",
            "[fe80::1%251]:80",
            "unix:@app",
            "handover:/run/app/handover",
            "handover:80",
            "vsock:2:5000",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("/run/a").to_string(), "unix:/run/a");
        let everywhere = Address::parse_listen("5000").unwrap();
        assert_eq!(everywhere.to_string(), "[::]:5000");
        assert_eq!(read("[::1]:7").literal(), "[::1]:7".parse().ok());
        assert_eq!(read("localhost:7").literal(), None);
        let host = "handover".to_owned();
        assert_eq!(read("handover:80"), Address::Tcp { host, port: 80 });
    }

    #[test]
    fn a_host_or_port_that_is_none_is_refused_with_the_reason() {
        refused(&[
            ("", "is empty"),
            (
                "5000",
                "host is missing (write localhost:5000 for a service",
            ),
            ("99999", "a port is a number from 1 to 65535 (examples"),
            ("localhost", "port is missing"),
            ("localhost:http", "not a number"),
            ("localhost:65536", "not a number"),
            (":80", "host is missing (write localhost:80 for"),
            (":http", "host is missing (examples"),
            ("*:80", "host is missing (write localhost:80"),
            ("localhost:0", "port 0 cannot be connected to"),
            ("localhost:+80", "not a number"),
            ("localhost:80:90", "too many colons"),
            ("eth%0:80", "not a name"),
            ("a b:80", "not a name"),
            ("a:1,b:80", "too many colons"),
            ("a,b:80", "not a name"),
            ("0", "port 0 cannot be connected to"),
            (":0", "port 0 cannot be connected to"),
            (&format!("{}:80", "x".repeat(255)), "not a name"),
        ]);
        assert!(format!("{}:80", "x".repeat(254)).parse::<Address>().is_ok());
    }

    #[test]
    fn a_url_is_refused_with_what_to_write_instead() {
        refused(&[
            ("http://localhost:80", "URL (write localhost:80)"),
            ("http://localhost/", "URL (write localhost:80)"),
            ("HTTP://localhost", "URL (write localhost:80)"),
            ("https://u@db.example/x?y", "URL (write db.example:443)"),
            ("tcp://db.example:80", "URL (write db.example:80)"),
            ("tcp://[::1]:80/", "URL (write [::1]:80)"),
            ("tcp:localhost:80", "URL (write localhost:80)"),
            ("localhost:80/", "URL (write localhost:80)"),
            ("tcp://localhost", "URL (write HOST:PORT alone)"),
        ]);
    }

    #[test]
    fn ipv6_without_its_brackets_or_scope_is_refused_with_the_reason() {
        refused(&[
            ("::1", "brackets"),
            ("::1:80", "brackets"),
            ("[::1:80", "bracket"),
            ("[localhost]:80", "brackets"),
            ("fe80::1%eth0:80", "brackets"),
            ("[::1]", "port is missing"),
            ("[fe80::1%]:80", "brackets"),
            ("[fe80::1%a/b]:80", "brackets"),
            ("[10.0.0.1%eth0]:80", "brackets"),
            ("[fe80::1%25eth0]:80", "(write [fe80::1%eth0]:80)"),
            ("[fe80::1%25]]:80", "port is missing"),
        ]);
    }

    #[test]
    fn a_path_or_name_that_is_none_is_refused_with_the_reason() {
        refused(&[
            ("unix:app.sock", "begins with /"),
            ("unix:", "missing"),
            ("unix:@", "missing"),
            ("handover:app", "begins with /"),
            ("handover:", "path is missing"),
            ("handover:@app", "begins with /"),
            ("vsock:4294967295:1", "cannot be connected to"),
            ("vsock:2", "CID:PORT"),
            ("vsock:x:1", "CID"),
            (&format!("unix:/{}", "x".repeat(107)), "107 bytes"),
        ]);
    }

    #[test]
    fn a_long_text_is_repeated_in_part() {
        for text in ["ü".repeat(100_000), "\0".repeat(100_000)] {
            let error = read_error(&text);
            assert!(error.contains('…') && error.len() < 10_000, "{error}");
        }
        let longest = "ü".repeat(SHOWN_MAX);
        assert!(read_error(&longest).contains(&format!("“{longest}”")));
    }

    #[test]
    fn a_target_may_be_written_as_for_socket_proxyd() {
        for (text, printed) in [
            ("localhost", "localhost:80"),
            ("192.0.2.1", "192.0.2.1:80"),
            ("localhost:http", "localhost:80"),
            ("[::1]:http", "[::1]:80"),
            ("[::1]", "[::1]:80"),
            ("::1:8080", "[::1]:8080"),
            ("::1:http", "[::1]:80"),
            ("2001:db8::1:2:80", "[2001:db8::1:2]:80"),
            ("::ffff:192.0.2.1:80", "[::ffff:192.0.2.1]:80"),
            ("fe80::1%eth0:80", "[fe80::1%eth0]:80"),
            ("@app", "unix:@app"),
            ("/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(target(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_target_either_is_refused_with_the_reason() {
        refused_by(
            target,
            &[
                ("", "is empty"),
                // Printed with port 80, they would be read as something else.
                ("unix", "how another kind of address begins"),
                ("vsock", "how another kind of address begins"),
                ("fe80::1%25eth0:80", "(write [fe80::1%eth0]:80)"),
                ("5000", "host is missing (write localhost:5000"),
                ("99999", "a port is a number from 1 to 65535"),
                ("+80", "not a name"),
                (":http", "host is missing"),
                ("localhost:ntp", "nor the name of a service in services(5)"),
                ("localhost:65536", "not a number from 1 to 65535"),
                ("localhost:+80", "not a number"),
                ("localhost:", "not a number"),
                ("localhost:0", "port 0 cannot be connected to"),
                ("::1", "brackets"),
                ("2001:db8::1", "brackets"),
                ("[::1", "bracket"),
                ("[::1]80", "port is missing"),
                ("a b", "not a name"),
                ("run/app.sock", "not a name"),
                ("a:b:80", "too many colons"),
                ("@", "the name after @ is missing"),
                ("http://localhost", "URL (write localhost:80)"),
                ("tcp://localhost", "URL (write HOST:PORT alone)"),
                ("tcp://[::1]", "URL (write HOST:PORT alone)"),
                ("localhost/", "not a name"),
            ],
        );
    }

    #[test]
    fn only_a_target_has_the_forms_of_socket_proxyd() {
        for parse in [str::parse, Address::parse_listen] {
            for text in ["localhost", "localhost:http", "::1:80", "[::1]", "@app"] {
                assert!(parse(text).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn hidden_characters_are_refused_and_printed_visibly() {
        refused(&[
            ("unix:/run/\0", "control character"),
            (
                "unix:/run/\x1b[2Jx",
                "“unix:/run/\\u{1b}[2Jx” is not an address",
            ),
            ("unix:@\u{9b}31m", "control character"),
            ("a\u{202e}b:80", "cannot be seen"),
            ("a:80\n", "control character"),
        ]);
    }

    #[test]
    fn an_address_to_listen_on_may_have_port_0_and_is_no_handover() {
        refused_by(
            Address::parse_listen,
            &[
                ("99999", "a port is a number from 1 to 65535"),
                ("+80", "the port is missing"),
                (":0", "host is missing (write 0 for that port"),
                ("localhost:+80", "not a number"),
                (":80", "host is missing (write 80 for that port on every"),
                ("*:80", "host is missing (write 80 for that port on every"),
                ("http://localhost:80", "URL (write localhost:80)"),
                ("unix:app.sock", "begins with /"),
                ("handover:/run/app", "nobody can connect"),
            ],
        );
        assert!(Address::parse_listen("localhost:0").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_so_that_it_is_read_again(text in "\\PC{0,40}|[a-z0-9:./@\\[\\]]{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address.clone()));
                prop_assert_eq!(target(&text), Ok(address));
            }
        }

        #[test]
        fn a_target_is_printed_as_an_address(text in "\\PC{0,40}|[a-z0-9:./@\\[\\]]{0,20}") {
            if let Ok(address) = target(&text) {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
