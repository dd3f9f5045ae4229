//! Why a take-over fails, in sentences.

use std::io;
use std::path::PathBuf;

use crate::service::listener::ListenError;

/// Why the place of another process could not be taken. It goes on as if nothing had happened.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It cannot be called.
    #[error(
        "cannot take over from the proxy behind {path}: {error}; it goes on: see whether --control \
         names its socket, and whether this user may use it"
    )]
    Unreachable {
        /// The control socket.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It hung up.
    #[error(
        "cannot take over from the proxy behind {0}: it ended the connection before it had \
         answered; try again"
    )]
    Lost(PathBuf),
    /// It does not answer.
    #[error(
        "cannot take over from the proxy behind {0}: it does not answer within 30 seconds; if it \
         hangs, end it and start this one again"
    )]
    Silent(PathBuf),
    /// Somebody else's process answers.
    #[error(
        "cannot take over from what answers at {path}: it runs as user {user}, and only a proxy of \
         root or of this user may say which sockets and files are a proxy's; see who has put a socket \
         there"
    )]
    NotOurs {
        /// The control socket.
        path: PathBuf,
        /// Whose it is.
        user: u32,
    },
    /// It does not know how.
    #[error(
        "cannot take over from the proxy behind {0}: it is of a version that cannot hand over its \
         sockets; it goes on. Lock it, stop it, and start this one: clients that come in between \
         are refused"
    )]
    TooOld(PathBuf),
    /// It will not.
    #[error("cannot take over from the proxy behind {path}: {reason}; it goes on")]
    Refused {
        /// The control socket.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The lock or the target would be lost.
    #[error(
        "cannot take over from the proxy behind {path}: it keeps its {what} in {there}, and this one \
         would keep it in {here}; it goes on. Give --{directory}-directory {there}"
    )]
    Elsewhere {
        /// The control socket.
        path: PathBuf,
        /// The lock, or the target.
        what: &'static str,
        /// What the directory is called.
        directory: &'static str,
        /// Where the other process has it.
        there: String,
        /// Where we would have it.
        here: String,
    },
    /// Its sockets are not those that are needed.
    #[error(
        "cannot take over from the proxy behind {path}: {error}. That proxy listens on {there}, and \
         goes on; --listen takes only what is bound to exactly the same address"
    )]
    Listen {
        /// The control socket.
        path: PathBuf,
        /// Why a socket could not be had.
        #[source]
        error: ListenError,
        /// Where it listens.
        there: String,
    },
}
