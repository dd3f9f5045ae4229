//! Why a verb failed: a variant for the program, a sentence for the person.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::sockets::unit;
use crate::interface::INTERFACE;
use crate::service::plural::{clause, count};
use crate::service::socket_file::instead_of_socket;
use crate::service::timespan::TimeSpan;

/// Why a verb failed. Each says what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Several proxies run here and none was named.
    #[error("several proxies run here ({}): say which one with --instance NAME", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// No proxy runs here.
    #[error(
        "no proxy has a control socket under {0}: start one (`systemctl start \
         disnix-tcp-proxy-control.socket`), or name its socket with --control PATH"
    )]
    NoProxy(PathBuf),
    /// The words are well formed and make no sense.
    #[error("{0}")]
    Usage(String),
    /// No connection to the control socket.
    #[error("{}", unreachable(path, error))]
    Unreachable {
        /// The control socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The connection ended before the answer came.
    #[error(
        "the proxy behind {path} ended the connection before it had answered{}: see \
         `journalctl -u 'disnix-tcp-proxy*'`, and try again",
        error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    Lost {
        /// The control socket.
        path: PathBuf,
        /// Why, if it was not an orderly end.
        error: Option<io::Error>,
    },
    /// The proxy takes calls and does not answer.
    #[error(
        "the proxy behind {path} does not answer within {}: see `systemctl status \
         'disnix-tcp-proxy*'`, and restart it if it hangs",
        TimeSpan::Finite(*after)
    )]
    Silent {
        /// The control socket.
        path: PathBuf,
        /// How long it had.
        after: Duration,
    },
    /// What answers speaks another language.
    #[error(
        "what answers on {path} is not a disnix-tcp-proxy of this version ({reason}): name the \
         right socket with --control, or restart a proxy that is older than this program"
    )]
    Foreign {
        /// The control socket.
        path: PathBuf,
        /// What was wrong with its answer.
        reason: String,
    },
    /// What answers belongs to somebody else.
    #[error(
        "what answers on {path} runs as user {user}, who is neither root nor you, and need not be a \
         proxy ({error}): name the proxy's socket with --control, or become user {user}"
    )]
    NotOurs {
        /// The control socket.
        path: PathBuf,
        /// Who answers.
        user: u32,
        /// Why the place of the socket does not speak for them.
        error: io::Error,
    },
    /// The drain took too long.
    #[error(
        "the drain was not complete in time ({} still open); the gate is open \
         again unless others keep it locked: see `disnix-tcp-proxyctl connections`, and try \
         again with a longer --timeout or with --force-after",
        count(*open, "connection")
    )]
    DrainTimedOut {
        /// Connections that were still open.
        open: u64,
    },
    /// Nobody has left for too long.
    #[error(
        "nobody has left for the time of --progress-timeout ({} still open); the gate is open again \
         unless others keep it locked: see `disnix-tcp-proxyctl connections`, and whether they wait \
         for clients in the queue (disnix-tcp-proxyctl(1), “Drains that do not end”)",
        count(*open, "connection")
    )]
    DrainStalled {
        /// Connections that were still open.
        open: u64,
    },
    /// Somebody opened the gate meanwhile.
    #[error("{}", unlocked(reason))]
    Unlocked {
        /// `unlock`, `lease` or `exit`.
        reason: String,
    },
    /// The proxy refused the call.
    #[error("{0}")]
    Refused(String),
    /// A signal came while waiting.
    #[error(
        "interrupted: hung up, so that the proxy takes back the lock that this call made; the \
         gate opens again unless others keep it locked"
    )]
    Interrupted,
    /// Nobody reads our standard output any more.
    #[error("nobody reads the output")]
    ReaderGone,
    /// Standard output cannot be written to.
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    /// The operating system refused something.
    #[error("{what}: {error}; nothing was asked of the proxy")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
}

impl Failure {
    /// The exit status, as `--help` lists them.
    pub fn exit_status(&self) -> u8 {
        match self {
            // As with any filter whose reader has seen enough.
            Self::ReaderGone => 0,
            Self::Ambiguous(_) | Self::Usage(_) => 2,
            Self::DrainTimedOut { .. } | Self::DrainStalled { .. } => 3,
            Self::NoProxy(_)
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Silent { .. } => 4,
            _ => 1,
        }
    }

    /// Whether there is no proxy at all: no socket, or nobody listens on it.
    pub fn is_absence(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
        match self {
            Self::NoProxy(_) => true,
            Self::Unreachable { error, .. } => {
                matches!(error.kind(), NotFound | NotADirectory | ConnectionRefused)
            }
            _ => false,
        }
    }

    /// Why there is no connection to the control socket `path`.
    pub fn of_connection(path: &Path, error: io::Error) -> Self {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        match instead_of_socket(path).filter(|_| refused) {
            Some(found) => Self::Usage(format!(
                "{} is {found}, and no socket: name the proxy's control socket with --control",
                path.display()
            )),
            None => Self::Unreachable {
                path: path.to_owned(),
                error,
            },
        }
    }

    /// A call has more bytes than this limit.
    pub fn too_long(limit: impl std::fmt::Display) -> Self {
        Self::Usage(format!(
            "a proxy takes calls of at most {limit} bytes, and this one is longer: shorten the --reason \
             or the target; nothing has changed"
        ))
    }

    /// From the error `name` that the proxy behind `path` answered with.
    pub fn answered(path: PathBuf, name: &str, parameters: &Value) -> Self {
        let text = |key: &str| parameters[key].as_str().unwrap_or("?").to_owned();
        let number = |key: &str| parameters[key].as_u64().unwrap_or(0);
        let ours = name
            .strip_prefix(INTERFACE)
            .and_then(|rest| rest.strip_prefix('.'));
        Self::Refused(match ours {
            Some("DrainTimedOut") => {
                return Self::DrainTimedOut {
                    open: number("open"),
                };
            }
            Some("DrainStalled") => {
                return Self::DrainStalled {
                    open: number("open"),
                };
            }
            Some("Unlocked") => {
                return Self::Unlocked {
                    reason: text("reason"),
                };
            }
            Some("InvalidTarget") => {
                return Self::Usage(format!(
                    "the proxy cannot lead to “{}”: {}; nothing has changed",
                    text("target"),
                    text("reason")
                ));
            }
            Some("TargetSilent") if parameters["set"] == true => format!(
                "{}; it is set all the same, for there was no target before: start it",
                text("reason")
            ),
            Some("TargetSilent") => format!(
                "{}; nothing has changed: start it, try longer with --wait, or set the target without \
                 trying it",
                text("reason")
            ),
            Some("TargetFixed") => format!(
                "the target is fixed to {} by the proxy's command line or DISNIX_TCP_PROXY_TARGET: \
                 change it there and restart the proxy, or remove it there to use set-target",
                text("target")
            ),
            Some("StateNotSaved") => format!(
                "the proxy could not save its state ({}), nothing has changed: look after its \
                 runtime and state directories and try again",
                text("reason")
            ),
            Some("NoSuchConnection") => format!(
                "there is no connection {} (any more): see `disnix-tcp-proxyctl connections`",
                number("id")
            ),
            Some("CannotClose") => format!(
                "connection {} cannot be closed: {}",
                number("id"),
                text("reason")
            ),
            Some("BeingTakenOver") => format!(
                "another process{} is just taking over from the proxy: wait until it has",
                parameters["pid"]
                    .as_i64()
                    .map(|pid| format!(" ({pid})"))
                    .unwrap_or_default()
            ),
            Some("CannotHandOver") => {
                format!("the proxy cannot hand over its sockets: {}", text("reason"))
            }
            Some("NotHandedOver") => {
                "the proxy has not handed over its sockets to this caller: that comes first"
                    .to_owned()
            }
            Some("TooManyCallers") => format!(
                "the proxy has {} (lock, switch, watch) already, and no more may: end some of them \
                 and try again",
                clause(number("limit"), "call", ("that waits", "that wait"))
            ),
            Some("CallTooLong") => return Self::too_long(number("limit")),
            _ => {
                return Self::Foreign {
                    path,
                    reason: format!("it answers {name} {parameters}"),
                };
            }
        })
    }
}

fn unreachable(path: &Path, error: &io::Error) -> String {
    let start = unit(path).map_or_else(
        || "start it".to_owned(),
        |unit| format!("start it (`systemctl start {unit}`)"),
    );
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!(
            "the proxy is not running: there is no {path}; {start}, or name another with \
             --instance or --control"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("the proxy is not running: nobody listens on {path}; {start}")
        }
        io::ErrorKind::PermissionDenied => format!(
            "you may not use {path}: it is for root and the group disnix-tcp-proxy; become a \
             member of it, or use sudo"
        ),
        _ => format!(
            "{path} cannot be reached ({error}): name the proxy's control socket with --control"
        ),
    }
}

fn unlocked(reason: &str) -> String {
    match reason {
        "lease" => "the lease of the lock has run out and the gate is open again: try again with \
                    a longer --lease"
            .to_owned(),
        "exit" => "the lease of the lock has run out and the proxy ends, as a lock with \
                   --at-lease-end exit has said: start it again, and try again with a longer \
                   --lease"
            .to_owned(),
        _ => "somebody else has opened the gate meanwhile: settle with them who locks, and try \
              again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
