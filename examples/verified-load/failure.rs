//! What can become of a connection other than that it comes to its end.

use std::io::{self, ErrorKind};

use serde::Serialize;

/// How a connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nobody listened.
    Refused,
    /// It was broken.
    Reset,
    /// It ended before everything was said.
    EarlyEnd,
    /// It has not come to its end in time.
    TimedOut,
    /// Some other error of the kernel.
    Other,
}

/// Why a connection has not come to its end.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It was lost.
    Lost(Kind, String),
    /// What was heard is not what was said.
    Corrupt(String),
}

impl Failure {
    /// What an error of a socket means; `whose` is the end that saw it.
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

    /// The other side has stopped before its time.
    pub fn early(whose: &str, received: u64, expected: u64) -> Self {
        let text = format!("an end at the {whose} after {received} of {expected} bytes");
        Self::Lost(Kind::EarlyEnd, text)
    }
}
