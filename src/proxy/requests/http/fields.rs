//! The header fields that say where a message ends, and what becomes of the connection.

use crate::proxy::requests::opaque::Opaque;
use crate::proxy::requests::standing::POSITION_MAX;

const LENGTH: &[u8] = b"content-length";
const ENCODING: &[u8] = b"transfer-encoding";

/// What the fields of a head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub is_chunked: bool,
    /// `Connection: close`.
    pub closes: bool,
    /// `Connection: keep-alive`.
    pub keeps_alive: bool,
    /// `Upgrade: websocket`.
    pub is_websocket: bool,
}

impl Fields {
    /// Reads the next field of a head.
    pub fn read(&mut self, name: &[u8], value: &[u8]) -> Result<(), Opaque> {
        // The length rules out most of them.
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.is_websocket |= value.eq_ignore_ascii_case(b"websocket");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.read_connection(value),
            14 if name.eq_ignore_ascii_case(LENGTH) => self.read_length(value)?,
            17 if name.eq_ignore_ascii_case(ENCODING) => self.read_encoding(value)?,
            14 | 17 if says_where_it_ends(name) => return Err(Opaque::Length),
            13 | 16 | 18 | 19 if is_login(name) && belongs_to_connection(value) => {
                return Err(Opaque::Login);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.closes |= option.eq_ignore_ascii_case(b"close");
            self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), Opaque> {
        let is_only = self.length.is_none() && !self.is_chunked;
        self.length = Some(length(value).filter(|_| is_only).ok_or(Opaque::Length)?);
        Ok(())
    }

    fn read_encoding(&mut self, value: &[u8]) -> Result<(), Opaque> {
        let is_only = self.length.is_none() && !self.is_chunked;
        self.is_chunked = is_only && value == b"chunked";
        self.is_chunked.then_some(()).ok_or(Opaque::Length)
    }
}

/// Whether a field says where a message ends: also if it has a `_`, which some services take for a `-`.
pub fn says_where_it_ends(name: &[u8]) -> bool {
    is_framing(name, LENGTH) || is_framing(name, ENCODING)
}

fn is_framing(name: &[u8], wanted: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a, *b) == (b'_', b'-');
    name.len() == wanted.len() && name.iter().zip(wanted).all(same)
}

fn is_login(name: &[u8]) -> bool {
    const LOGINS: [&[u8]; 4] = [
        b"authorization",
        b"www-authenticate",
        b"proxy-authenticate",
        b"proxy-authorization",
    ];
    LOGINS.iter().any(|login| name.eq_ignore_ascii_case(login))
}

/// Whether one of these logins is for the connection rather than for the request (RFC 4559, section 6).
fn belongs_to_connection(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|login| {
        let mut words = login.trim_ascii().split(u8::is_ascii_whitespace);
        let scheme = words.next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// A decimal number that cannot be understood in another way.
fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 1 && value[0] == b'0' {
        return None;
    }
    let number = value.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })?;
    (number <= POSITION_MAX).then_some(number)
}
