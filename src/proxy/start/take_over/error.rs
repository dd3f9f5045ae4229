//! Why a take-over fails, in sentences.

use std::io;
use std::path::PathBuf;

use crate::service::listener::ListenError;

/// The place of another process could not be taken. That process continues unchanged.
#[derive(Debug, thiserror::Error)]
#[error("cannot take over from {} {}: {obstacle}", .obstacle.subject(), .path.display())]
pub struct TakeOverError {
    /// The control socket.
    pub path: PathBuf,
    #[source]
    pub obstacle: Obstacle,
}

#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    #[error(
        "{0}; it goes on: see whether --control names its socket, and whether this user may use it"
    )]
    Unreachable(#[source] io::Error),
    #[error("it ended the connection before it had answered; try again")]
    Lost,
    #[error("it does not answer within 30 seconds; if it hangs, end it and start this one again")]
    Silent,
    #[error(
        "it runs as user {user}, and only a proxy of root or of this user may say which sockets and \
         files are a proxy's; see who has put a socket there"
    )]
    NotOurs { user: u32 },
    #[error(
        "it is of a version that cannot hand over its sockets; it goes on. Lock it, stop it, and start \
         this one: clients that come in between are refused"
    )]
    TooOld,
    #[error("{0}; it goes on")]
    Refused(String),
    /// The lock or the target (`what`) would be lost.
    #[error(
        "it keeps its {what} in {there}, and this one would keep it in {here}; it goes on. Give \
         --{directory}-directory {there}"
    )]
    Elsewhere {
        what: &'static str,
        directory: &'static str,
        there: String,
        here: String,
    },
    /// Its sockets, which listen at `there`, are not those that are needed.
    #[error(
        "{error}. That proxy listens on {there}, and goes on; --listen takes only what is bound to \
         exactly the same address"
    )]
    Listen {
        #[source]
        error: ListenError,
        there: String,
    },
}

impl Obstacle {
    fn subject(&self) -> &'static str {
        match self {
            Self::NotOurs { .. } => "what answers at",
            _ => "the proxy behind",
        }
    }
}
