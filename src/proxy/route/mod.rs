//! Where clients go: the target, and the two ways to it.
//!
//! `target` has both: `upstream` connects, and `handover` passes the client to a service that accepts itself.
//! `upstream_watch` is told of each attempt; `reachability` is what they have shown (pure).

mod handover;
mod reachability;
mod target;
mod upstream_watch;

pub use handover::{Handover, HandoverError, SendPermit, Sender};
pub use target::{Route, RouteSettings, SetTargetError};
