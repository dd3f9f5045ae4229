//! What can go wrong, as a sentence and as an exit status.

use std::io::{self, Write};
use std::time::Duration;

use crate::hello::protocol::LineError;
use crate::service::address::Address;
use crate::service::printable::sentence;
use crate::service::socket_file::instead_of_socket;
use crate::service::timespan::TimeSpan;

/// Why the client fails.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words make no sense.
    #[error("{0}")]
    Usage(String),
    /// The name has no address.
    #[error("the host {host} is unknown ({error}): check its spelling and this machine's DNS")]
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// Nobody listens there.
    #[error(
        "{0} refused the connection: start the server there, or wait longer for it with --wait"
    )]
    Refused(Address),
    /// No connection within the time.
    #[error(
        "{address} could not be reached within {}: check the network, or try longer with --timeout",
        TimeSpan::Finite(*.after)
    )]
    ConnectTimedOut {
        /// The server.
        address: Address,
        /// How long was tried.
        after: Duration,
    },
    /// No answer within the time.
    #[error(
        "{address} did not answer within {}: if it is behind a proxy that is locked, try longer \
         with --answer-timeout",
        TimeSpan::Finite(*.after)
    )]
    AnswerTimedOut {
        /// The server.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// The server went before it had answered.
    #[error(
        "{address} {} the connection before it had answered everything: look at the server's log, \
         and try again", if *.reset { "reset" } else { "closed" }
    )]
    Closed {
        /// The server.
        address: Address,
        /// Whether it was a reset.
        reset: bool,
    },
    /// The server could not read a line of ours.
    #[error("{address} ended the conversation, because {error} of the input: correct the input")]
    Refusal {
        /// The server.
        address: Address,
        /// What is wrong with the line.
        error: LineError,
    },
    /// The server's answer is none.
    #[error("{address} is no hello-world-server ({error} of its answers): check the address")]
    Foreign {
        /// Who answers.
        address: Address,
        /// What is wrong with the answer.
        error: LineError,
    },
    /// Any other error of the connection.
    #[error("{address} cannot be reached: {error}; check the address and the network")]
    Unreachable {
        /// The server.
        address: Address,
        /// Why not.
        error: io::Error,
    },
    /// Standard input cannot be read.
    #[error("the input cannot be read: {0}")]
    Input(String),
    /// Nobody reads our standard output any more.
    #[error("nobody reads the output")]
    ReaderGone,
    /// Standard output cannot be written to.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    /// The operating system refused something.
    #[error("the program could not begin: {0}")]
    System(io::Error),
}

impl Failure {
    /// What is wrong with the connection to `address`.
    pub fn of_connection(address: &Address, error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
        let address = address.clone();
        let found = match &address {
            Address::Unix(path) if error.kind() == ConnectionRefused => instead_of_socket(path),
            _ => None,
        };
        if let Some(found) = found {
            return Self::Usage(format!(
                "{address} is {found}, and no socket: check the path"
            ));
        }
        match error.kind() {
            // Where there is no socket at all nobody listens either.
            ConnectionRefused | NotFound => Self::Refused(address),
            ConnectionReset | BrokenPipe => Self::Closed {
                address,
                reset: true,
            },
            _ => Self::Unreachable { address, error },
        }
    }

    /// The exit status, as `--help` lists them.
    pub fn exit_status(&self) -> u8 {
        match self {
            // As with any filter whose reader has seen enough.
            Self::ReaderGone => 0,
            Self::Usage(_) => 2,
            Self::UnknownHost { .. } => 3,
            Self::Refused(_) => 4,
            Self::ConnectTimedOut { .. } | Self::AnswerTimedOut { .. } => 5,
            // The kernel's own patience may be shorter than ours, tcp(7): tcp_syn_retries.
            Self::Unreachable { error, .. } if error.kind() == io::ErrorKind::TimedOut => 5,
            Self::Closed { .. } => 6,
            _ => 1,
        }
    }
}

/// Says something on standard error. Nothing can be done if it cannot be said.
pub fn note(text: impl std::fmt::Display) {
    let text = text.to_string();
    let _ = writeln!(
        io::stderr().lock(),
        "hello-world-client: {}",
        sentence(&text)
    );
}
