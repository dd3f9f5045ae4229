//! What a look at waiting bytes is told, and what it tells.

use super::opaque::Opaque;

/// The most bytes that are looked at: they fit into a buffer, behind a PROXY header.
pub const LOOK_MAX: usize = 63 * 1024;

/// Whether more bytes may join those that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// They may.
    MayCome,
    /// None will: the source has ended, they have been waited for too long, or [`LOOK_MAX`] bytes are there.
    No,
}

/// What a look tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// More bytes may pass: the position has moved.
    Passes,
    /// It is not clear yet: look again when more bytes are there.
    NeedsMore,
    /// The reply to the request before is not complete. Until then the next one waits.
    AwaitsReply,
    /// The bytes belong to no request: to be dropped together with the upstream that sent them.
    Surplus,
}

/// What the end of the upstream means, if all that it has sent has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// Nothing was under way. The client is not told.
    BetweenRequests,
    /// A request was, and no byte of the reply has come.
    BeforeReply,
    /// The reply or the request is cut off, or nobody knows: passed on as it is.
    InReply,
    /// It belongs to the reply: passed on as it is.
    ClosesReply,
}

/// Whether the request under way may be sent again, to another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatable {
    /// Its method is idempotent (RFC 9110, section 9.2.2), and nothing of its reply has come.
    Safe,
    /// Only if nothing of it was sent.
    IfUntouched,
    /// Never: its reply has begun, or it is not known, or there is none.
    Never,
}

/// What it means that bytes are not whole.
pub(super) fn unfinished(
    bytes: &[u8],
    more: More,
    (long, cut): (Opaque, Opaque),
) -> Result<Look, Opaque> {
    match more {
        _ if bytes.len() >= LOOK_MAX => Err(long),
        More::No if !bytes.is_empty() => Err(cut),
        _ => Ok(Look::NeedsMore),
    }
}
