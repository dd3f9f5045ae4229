//! The failures of a connection.

use std::io::{self, ErrorKind};

use serde::Serialize;

/// The kinds of lost connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Refused.
    Refused,
    /// Reset.
    Reset,
    /// It ended too early.
    EarlyEnd,
    /// It did not end in time.
    TimedOut,
    /// Some other error of the kernel.
    Other,
}

/// The failure of a connection.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It was lost.
    Lost(Kind, String),
    /// The received data differs from the sent data.
    Corrupt(String),
}

impl Failure {
    /// The failure for an error of a socket; `whose` is the end that saw it.
    pub fn of(error: &io::Error, whose: &str) -> Self {
        let kind = match error.kind() {
            ErrorKind::ConnectionRefused => Kind::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected => {
                Kind::Reset
            }
            ErrorKind::TimedOut => Kind::TimedOut,
            _ => Kind::Other,
        };
        Self::Lost(kind, format!("{error} at the {whose}"))
    }

    /// The other side has ended too early.
    pub fn early(whose: &str, received: u64, expected: u64) -> Self {
        let text = format!("an end at the {whose} after {received} of {expected} bytes");
        Self::Lost(Kind::EarlyEnd, text)
    }
}
