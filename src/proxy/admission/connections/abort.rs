//! Why a connection is ended, and on which side it broke.

/// Why the proxy ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Asked,
    Forced,
    Successor,
    Idle,
    Stalled,
    PeerGone,
    Unanswered,
}

impl Abort {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "closed by CloseConnection",
            Self::Forced => "closed by a lock with --force-after",
            Self::Successor => "the process that took over has ended, or forces its drain",
            Self::Idle => "nothing was carried for the idle timeout",
            Self::Stalled => "bytes waited for the stall timeout, and their receiver took none",
            Self::PeerGone => "a peer did not answer for the keepalive time",
            Self::Unanswered => {
                "it was never answered, it leads to an earlier target, and all places were taken"
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}
