//! The live view of a drain.
//!
//! - `view`: its lines; `blockers`: the connections that are waited for;
//! - `queued`: clients that wait in the backlog; `opaque`: why a connection cannot be detached (pure).

pub mod blockers;
pub mod opaque;
pub mod queued;
pub mod view;
