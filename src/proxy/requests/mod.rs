//! Where a request ends, and where its reply does (pure).
//!
//! A [`Conversation`] decides how far the bytes of a connection may be passed on without being looked at, and
//! whether the connection is between requests. It never guesses: what is ambiguous makes the connection
//! [opaque](Opaque), so that its bytes are passed on as they are, whatever they mean.
//!
//! From the lowest to the highest; nothing imports what is above it:
//!
//! - `kind`, `opaque`, `look`: how requests are recognised; why they are not; what a look tells;
//! - `stages`, `facts`, `standing`: where both sides are, and the words in which that outlives the process;
//! - `surplus`: bytes that nothing has asked for; `lines` and `http`: the kinds;
//! - `conversation`: the object that the relay asks.
//!
//! # How the relay uses it
//!
//! Each direction passes up to a position of its stream. There, the bytes that wait are looked at, and they
//! pass up to the new position. Three things are the relay's part:
//!
//! 1. It looks for the next request only when the reply has passed up to its position; but within a request
//!    ([not whole](Conversation::request_is_whole)) at any time. It takes the connection for one between
//!    requests only when both streams have passed up to their positions.
//! 2. It looks at the reply before it looks at a request: bytes that come while nothing is under way belong
//!    to no request.
//! 3. It stores the [words](Conversation::words) after each look, in their order, before the bytes pass. If
//!    the process is killed in between, the next one looks at the same bytes again and decides the same.

mod conversation;
mod facts;
mod http;
mod kind;
mod lines;
mod look;
mod opaque;
mod stages;
mod standing;
mod surplus;

pub use conversation::Conversation;
pub use kind::{RequestKind, UnknownKind};
pub use look::{LOOK_MAX, Look, More, Repeatable, UpstreamEnd};
pub use opaque::Opaque;

#[cfg(test)]
mod tests;
