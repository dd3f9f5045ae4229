//! Where clients go: the target, and the two ways to it.
//!
//! `target` has both: `upstream` connects, and `handover` passes the client to a service that accepts itself.

mod handover;
mod target;

pub use handover::{Handover, HandoverError, SendPermit, Sender};
pub use target::{Route, RouteSettings, SetTargetError};
