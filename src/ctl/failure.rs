//! Failures of a verb: a variant for the program, a sentence for the person, an exit status.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::UNSEEN_LIMIT;
use super::sockets::unit;
use super::systemd::SystemdError;
use crate::service::plural::count;
use crate::service::socket_file::instead_of_socket;
use crate::service::timespan::TimeSpan;

/// Why a verb failed. Each sentence says what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CtlFailure {
    #[error("several proxies run here ({}): say which one with --instance NAME", .0.join(", "))]
    Ambiguous(Vec<String>),
    #[error(
        "no proxy has a control socket under {0}: start one (`systemctl start \
         disnix-tcp-proxy-control.socket`), or name its socket with --control PATH"
    )]
    NoProxy(PathBuf),
    #[error(
        "the proxy behind {path} has no method {method}: it is older than this program; restart it, which \
         loses no connection where they are kept"
    )]
    Outdated { path: PathBuf, method: String },
    /// Well-formed arguments that make no sense.
    #[error("{0}")]
    Usage(String),
    #[error("{}", unreachable(path, error))]
    Unreachable { path: PathBuf, error: io::Error },
    #[error(
        "the proxy behind {path} ended the connection before it had answered{}: see \
         `journalctl -u 'disnix-tcp-proxy*'`, and try again",
        error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    Lost {
        path: PathBuf,
        /// `None`: an orderly end.
        error: Option<io::Error>,
    },
    #[error(
        "the proxy behind {path} does not answer within {}: see `systemctl status \
         'disnix-tcp-proxy*'`, and restart it if it hangs",
        TimeSpan::Finite(*after)
    )]
    Silent { path: PathBuf, after: Duration },
    #[error(
        "what answers on {path} is not a disnix-tcp-proxy of this version ({reason}): name the \
         right socket with --control, or restart a proxy that is older than this program"
    )]
    Foreign { path: PathBuf, reason: String },
    #[error(
        "what answers on {path} runs as user {user}, who is neither root nor you, and need not be a \
         proxy ({error}): name the proxy's socket with --control, or become user {user}"
    )]
    NotOurs {
        path: PathBuf,
        user: u32,
        error: io::Error,
    },
    #[error(
        "the drain was not complete in time ({} still open); the gate is open \
         again unless others keep it locked: see `{}`, and try again with a longer --timeout or with \
         --force-after",
        .0.count(),
        .0.shown_by
    )]
    DrainTimedOut(LeftOpen),
    /// As [`Self::DrainTimedOut`], after the limit that the command line did not give.
    #[error(
        "the drain was not complete within {} ({} still open), and without a terminal no lock waits \
         longer unless --timeout says so (infinity waits for ever); the gate is open again unless others keep \
         it locked: see `{}`, and try again with --timeout or --force-after",
        UNSEEN_LIMIT,
        .0.count(),
        .0.shown_by
    )]
    DrainUnseen(LeftOpen),
    #[error(
        "nobody has left for the time of --progress-timeout ({} still open); the gate is open again \
         unless others keep it locked: see `{}`, and whether they wait for clients in the queue \
         (disnix-tcp-proxyctl(1), “Drains that do not end”)",
        .0.count(),
        .0.shown_by
    )]
    DrainStalled(LeftOpen),
    #[error(
        "the check of {target} has failed ({why}): clients still go to the old target, and the gate is \
         open again unless others keep it locked"
    )]
    CheckFailed { target: String, why: String },
    /// The gate was opened meanwhile, by `unlock`, `lease` or `exit`.
    #[error("{}", unlocked(.0))]
    Unlocked(String),
    #[error("{0}")]
    Refused(String),
    #[error(
        "interrupted: hung up, so that the proxy takes back the lock that this call made; the \
         gate opens again unless others keep it locked"
    )]
    Interrupted,
    #[error(
        "nobody knows which proxies sleep, and to ask a proxy would start it ({0}): become root, or use \
         --wake to ask them all the same"
    )]
    Systemd(SystemdError),
    #[error("nobody reads the output")]
    ReaderGone,
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    #[error("{what}: {error}; nothing was asked of the proxy")]
    System {
        what: &'static str,
        error: io::Error,
    },
}

/// The connections that a drain has left open.
#[derive(Debug)]
pub struct LeftOpen {
    pub open: u64,
    /// The command that shows them.
    pub shown_by: String,
}

impl LeftOpen {
    fn count(&self) -> String {
        count(self.open, "connection")
    }
}

impl CtlFailure {
    /// The exit status, as `--help` lists them.
    pub fn exit_status(&self) -> u8 {
        match self {
            // A filter whose reader has seen enough has not failed.
            Self::ReaderGone => 0,
            Self::Ambiguous(_) | Self::Usage(_) => 2,
            _ if self.is_given_up() => 3,
            Self::NoProxy(_)
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Silent { .. } => 4,
            Self::CheckFailed { .. } => 5,
            _ => 1,
        }
    }

    /// Whether the drain has taken too long.
    pub fn is_given_up(&self) -> bool {
        matches!(
            self,
            Self::DrainTimedOut(_) | Self::DrainUnseen(_) | Self::DrainStalled(_)
        )
    }

    /// Whether there is no proxy at all: no socket, or none that listens.
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

    /// From an error of connect(2) to the control socket `path`.
    pub fn of_connection(path: &Path, error: io::Error) -> Self {
        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        match instead_of_socket(path).filter(|_| is_refused) {
            Some(kind) => Self::Usage(format!(
                "{} is {kind}, and no socket: name the proxy's control socket with --control",
                path.display()
            )),
            None => Self::Unreachable {
                path: path.to_owned(),
                error,
            },
        }
    }

    /// A call has more than `limit` bytes.
    pub fn too_long(limit: impl std::fmt::Display) -> Self {
        Self::Usage(format!(
            "a proxy takes calls of at most {limit} bytes, and this one is longer: shorten the --reason \
             or the target; nothing has changed"
        ))
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
        _ => "somebody else has opened the gate meanwhile: agree with them on a time, and try \
              again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_distinguished_from_refusal() {
        use io::ErrorKind::*;
        let unreachable = |kind: io::ErrorKind| CtlFailure::Unreachable {
            path: "/c".into(),
            error: kind.into(),
        };
        for kind in [NotFound, NotADirectory, ConnectionRefused] {
            assert!(unreachable(kind).is_absence());
        }
        assert!(CtlFailure::NoProxy("/run".into()).is_absence());
        let denied = unreachable(PermissionDenied);
        assert!(!denied.is_absence());
        assert_eq!(denied.exit_status(), 4);
        assert!(denied.to_string().contains("group disnix-tcp-proxy"));
    }
}
