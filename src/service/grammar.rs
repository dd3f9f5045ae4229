//! The grammar of addresses, and what to write instead of a wrong one.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use super::address::{Address, AddressError, UNIX_PATH_MAX};
use super::port_name;
use super::printable::is_hidden;

/// The longest name of a network interface: `IFNAMSIZ` less its NUL, netdevice(7).
const INTERFACE_NAME_MAX: usize = 15;

/// The longest name of a host, with a dot at its end: RFC 1035, section 2.3.4.
const NAME_MAX: usize = 254;

/// The port of a target that has none, as systemd-socket-proxyd(8) has it.
const DEFAULT_PORT: &str = "80";

/// Any machine or any port: `VMADDR_CID_ANY` and `VMADDR_PORT_ANY`, vsock(7).
const VSOCK_ANY: u32 = u32::MAX;

/// What is wrong, and what to write instead if that can be guessed.
#[derive(Debug)]
struct Problem {
    reason: &'static str,
    advice: Option<String>,
}

impl Problem {
    fn advised(reason: &'static str, advice: String) -> Self {
        Self {
            reason,
            advice: Some(advice),
        }
    }
}

impl From<&'static str> for Problem {
    fn from(reason: &'static str) -> Self {
        Self {
            reason,
            advice: None,
        }
    }
}

impl Address {
    /// Reads an address to listen on. A bare `PORT` is that port on every address of the machine, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// When the text is neither an address nor a port, or is a handover socket.
    pub fn parse_listen(text: &str) -> Result<Self, AddressError> {
        if let Some(port) = number::<u16>(text) {
            let host = Ipv6Addr::UNSPECIFIED.to_string();
            return Ok(Self::Tcp { host, port });
        }
        read(text, Purpose::Listen)
    }

    /// Reads a target. Besides the forms in which an address is printed, it takes those of systemd-socket-proxyd(8):
    /// `HOST` for port 80, `HOST:SERVICE` for the port of a service in services(5), `V6:PORT`, and `@NAME`.
    ///
    /// # Errors
    ///
    /// When the text is no address to connect to, or nothing is known about the service.
    pub fn parse_target(text: &str) -> Result<Self, AddressError> {
        Self::parse_target_with(text, &port_name::tcp_port)
    }

    /// As [`Self::parse_target`]; `port` knows the services.
    pub(crate) fn parse_target_with(
        text: &str,
        port: &dyn Fn(&str) -> Option<u16>,
    ) -> Result<Self, AddressError> {
        read(text, Purpose::Target(port))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address to connect to, in the form in which it is printed, or a path.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        read(text, Purpose::Connect)
    }
}

#[derive(Clone, Copy)]
enum Purpose<'a> {
    Connect,
    /// Also in the forms of systemd-socket-proxyd(8); with the ports of services.
    Target(&'a dyn Fn(&str) -> Option<u16>),
    /// The kernel replaces port 0 by a free one.
    Listen,
}

impl Purpose<'_> {
    fn is_target(self) -> bool {
        matches!(self, Self::Target(_))
    }

    fn is_listen(self) -> bool {
        matches!(self, Self::Listen)
    }
}

fn read(text: &str, purpose: Purpose<'_>) -> Result<Address, AddressError> {
    address(text, purpose).map_err(|Problem { reason, advice }| AddressError {
        text: text.to_owned(),
        reason,
        advice,
    })
}

fn address(text: &str, purpose: Purpose<'_>) -> Result<Address, Problem> {
    if text.contains(is_hidden) {
        return Err("it contains a control character, or another that cannot be seen".into());
    }
    let name = text.strip_prefix("unix:@");
    if let Some(name) = name.or_else(|| text.strip_prefix('@').filter(|_| purpose.is_target())) {
        return match name.len() {
            0 => Err("the name after @ is missing".into()),
            1..=UNIX_PATH_MAX => Ok(Address::Abstract(name.to_owned())),
            _ => Err("a name may have 107 bytes".into()),
        };
    }
    if text.starts_with('/') {
        return path(text).map(Address::Unix);
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return path(rest).map(Address::Unix);
    }
    let handover = text.strip_prefix("handover:");
    // Before a port, handover is the name of a host.
    if let Some(rest) = handover.filter(|rest| number::<u16>(rest).is_none()) {
        let path = path(rest)?;
        return match purpose.is_listen() {
            false => Ok(Address::Handover(path)),
            true => {
                Err("clients are handed over there by a proxy, and nobody can connect to it".into())
            }
        };
    }
    if let Some(rest) = text.strip_prefix("vsock:") {
        return vsock(rest, purpose);
    }
    tcp(text, purpose)
}

/// A path must be absolute: a daemon has no working directory of its own.
fn path(text: &str) -> Result<PathBuf, Problem> {
    match text.len() {
        0 => Err("the path is missing".into()),
        1..=UNIX_PATH_MAX if text.starts_with('/') => Ok(PathBuf::from(text)),
        1..=UNIX_PATH_MAX => Err("the path of a socket begins with /".into()),
        _ => Err("the path of a socket may have 107 bytes".into()),
    }
}

fn vsock(text: &str, purpose: Purpose<'_>) -> Result<Address, Problem> {
    let (cid, port) = text.split_once(':').ok_or("vsock:CID:PORT is expected")?;
    let cid = number(cid).ok_or("the CID is not a number")?;
    let port = number(port).ok_or("the port is not a number")?;
    if !purpose.is_listen() && (cid == VSOCK_ANY || port == VSOCK_ANY) {
        return Err("it stands for any machine or any port, which cannot be connected to".into());
    }
    Ok(Address::Vsock { cid, port })
}

fn tcp(text: &str, purpose: Purpose<'_>) -> Result<Address, Problem> {
    match without_url(text, purpose) {
        Some(advice) => Err(Problem::advised("it looks like a URL", advice)),
        None => host_and_port(text, purpose),
    }
}

fn host_and_port(text: &str, purpose: Purpose<'_>) -> Result<Address, Problem> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            check_scope(host, rest)?;
            if !is_v6(host) {
                return Err("what is in brackets is not an IPv6 address".into());
            }
            let port = match rest.strip_prefix(':') {
                None if rest.is_empty() && purpose.is_target() => DEFAULT_PORT,
                port => port.ok_or("the port is missing")?,
            };
            (host, port)
        }
        None => name_and_port(text, purpose)?,
    };
    let port = port_number(port, purpose)?;
    if !purpose.is_listen() && port == 0 {
        return Err("port 0 cannot be connected to".into());
    }
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// The number of a port, which may be the name of a service in a target.
fn port_number(text: &str, purpose: Purpose<'_>) -> Result<u16, Problem> {
    if let Some(number) = number(text) {
        return Ok(number);
    }
    match purpose {
        Purpose::Target(port) if is_service_name(text) => Ok(port(text)
            .ok_or("the port is neither a number nor the name of a service in services(5)")?),
        _ => Err("the port is not a number from 1 to 65535".into()),
    }
}

fn name_and_port<'a>(text: &'a str, purpose: Purpose<'_>) -> Result<(&'a str, &'a str), Problem> {
    let Some((host, port)) = text.rsplit_once(':') else {
        if matches!(text, "unix" | "vsock") {
            return Err("it is how another kind of address begins, not the name of a host".into());
        }
        if purpose.is_target() && !text.is_empty() && !is_number(text) {
            return name(text).map(|host| (host, DEFAULT_PORT));
        }
        return Err(match (number::<u16>(text), is_number(text)) {
            (Some(_), _) => missing_host(text, purpose),
            (None, true) => "a port is a number from 1 to 65535".into(),
            (None, false) if text.is_empty() => "it is empty".into(),
            (None, false) => Problem::advised(
                "the port is missing",
                format!("write {text}:5000 for its port 5000, for example"),
            ),
        });
    };
    if is_v6(host) && purpose.is_target() {
        check_scope(host, &text[host.len()..])?;
        return Ok((host, port));
    }
    if is_v6(host) || is_v6(text) {
        return Err("an IPv6 address needs brackets".into());
    }
    if host.is_empty() || host == "*" {
        return Err(missing_host(port, purpose));
    }
    if host.contains(':') {
        return Err("it has too many colons".into());
    }
    name(host).map(|host| (host, port))
}

fn name(host: &str) -> Result<&str, Problem> {
    let is_odd = |c: char| c.is_whitespace() || "/[]@*%+,;".contains(c);
    match host.contains(is_odd) || host.len() > NAME_MAX {
        true => Err("the host is not a name".into()),
        false => Ok(host),
    }
}

fn missing_host(port: &str, purpose: Purpose<'_>) -> Problem {
    let advice = match (number::<u16>(port), purpose.is_listen()) {
        (None, _) => return "the host is missing".into(),
        (Some(0), false) => return "port 0 cannot be connected to".into(),
        (Some(_), false) => {
            format!("write localhost:{port} for a service on this machine")
        }
        (Some(_), true) => {
            format!("write {port} for that port on every address of this machine")
        }
    };
    Problem::advised("the host is missing", advice)
}

/// What to write instead of a URL, or of an address with a protocol or a path; `None` if it is neither.
fn without_url(text: &str, purpose: Purpose<'_>) -> Option<String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => match text.strip_prefix("tcp:") {
            Some(rest) if rest.contains(':') => ("tcp", rest),
            _ if text.contains(":") && text.ends_with('/') => ("", text),
            _ => return None,
        },
    };
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit('@').next().unwrap_or_default();
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let guesses = [place.to_owned(), format!("{place}{port}")];
    let has_port = |guess: &&String| {
        let end = guess.rsplit(']').next();
        end.is_some_and(|end| end.contains(':'))
    };
    let mut guesses = guesses.iter().filter(has_port);
    let guess = guesses.find_map(|guess| host_and_port(guess, purpose).ok());
    Some(match guess {
        Some(address) => format!("write {address}"),
        None => "write HOST:PORT alone".to_owned(),
    })
}

/// Whether it is an IPv6 address, with or without a scope: the name or number of an interface, RFC 4007.
fn is_v6(text: &str) -> bool {
    let (address, scope) = match text.split_once('%') {
        None => (text, None),
        Some((address, scope)) => (address, Some(scope)),
    };
    let is_scope = |scope: &str| {
        (1..=INTERFACE_NAME_MAX).contains(&scope.len())
            && !scope.contains(|c: char| c.is_whitespace() || "/[]%".contains(c))
    };
    address.parse::<Ipv6Addr>().is_ok() && scope.is_none_or(is_scope)
}

/// Fails if the scope is written as in a URL. `rest`: what follows the host.
fn check_scope(host: &str, rest: &str) -> Result<(), Problem> {
    match without_escape(host) {
        Some(host) => Err(Problem::advised(
            "%25 is how a URL has it",
            format!("write [{host}]{rest}"),
        )),
        None => Ok(()),
    }
}

/// What to write instead of a scope as in a URL, `%25eth0` (RFC 6874). `None` if it is none: digits that begin with
/// 25 are the number of an interface.
fn without_escape(host: &str) -> Option<String> {
    let (address, scope) = host.split_once("%25")?;
    let host = format!("{address}%{scope}");
    (!scope.is_empty() && !is_number(scope) && is_v6(&host)).then_some(host)
}

/// Whether it may be the name of a service: such names have a letter (RFC 6335, section 5.1).
fn is_service_name(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number of digits only; `from_str` takes a sign too.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| is_number(text))
}
