//! Failures of the client, as sentences and exit statuses.

use std::io;
use std::time::Duration;

use crate::hello::protocol::LineError;
use crate::service::address::Address;
use crate::service::socket_file::instead_of_socket;
use crate::service::timespan::TimeSpan;

#[derive(Debug, thiserror::Error)]
pub enum ClientFailure {
    #[error("{0}")]
    Usage(String),
    #[error("the host {0} is unknown ({1}): check its spelling and this machine's DNS")]
    UnknownHost(String, io::Error),
    #[error(
        "{0} refused the connection: start the server there, or wait longer for it with --wait"
    )]
    Refused(Address),
    #[error(
        "{address} could not be reached within {}: check the network, or try longer with --timeout",
        TimeSpan::Finite(*.after)
    )]
    ConnectTimedOut { address: Address, after: Duration },
    #[error(
        "{address} did not answer within {}: if it is behind a proxy that is locked, try longer \
         with --answer-timeout",
        TimeSpan::Finite(*.after)
    )]
    AnswerTimedOut { address: Address, after: Duration },
    #[error(
        "{address} {} the connection before it had answered everything: look at the server's log, \
         and try again", if *.reset { "reset" } else { "closed" }
    )]
    Closed { address: Address, reset: bool },
    /// The server refuses a line of the input.
    #[error("{0} ended the conversation, because {1} of the input: correct the input")]
    Refusal(Address, LineError),
    /// An answer is not a line.
    #[error("{0} is no hello-world-server ({1} of its answers): check the address")]
    Foreign(Address, LineError),
    #[error("{0} cannot be reached: {1}; check the address and the network")]
    Unreachable(Address, io::Error),
    #[error("the input cannot be read: {0}")]
    Input(String),
    #[error("nobody reads the output")]
    ReaderGone,
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error("the program could not begin: {0}")]
    System(io::Error),
}

impl ClientFailure {
    /// From an error of the connection to `address`.
    pub fn of_connection(address: &Address, error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
        let address = address.clone();
        if let (Address::Unix(path), ConnectionRefused) = (&address, error.kind()) {
            if let Some(kind) = instead_of_socket(path) {
                return Self::Usage(format!(
                    "{address} is {kind}, and no socket: check the path"
                ));
            }
        }
        match error.kind() {
            // A path without a socket has no listener either.
            ConnectionRefused | NotFound => Self::Refused(address),
            ConnectionReset | BrokenPipe => Self::Closed {
                address,
                reset: true,
            },
            _ => Self::Unreachable(address, error),
        }
    }

    /// The exit status, as `--help` lists them.
    pub fn exit_status(&self) -> u8 {
        match self {
            // A filter whose reader has seen enough has not failed.
            Self::ReaderGone => 0,
            Self::Usage(_) => 2,
            Self::UnknownHost(..) => 3,
            Self::Refused(_) => 4,
            Self::ConnectTimedOut { .. } | Self::AnswerTimedOut { .. } => 5,
            // The kernel's own time limit may be shorter, tcp(7): tcp_syn_retries.
            Self::Unreachable(_, error) if error.kind() == io::ErrorKind::TimedOut => 5,
            Self::Closed { .. } => 6,
            _ => 1,
        }
    }
}
