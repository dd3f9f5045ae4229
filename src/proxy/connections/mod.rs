//! The open connections.

mod connection;
mod liveness;
pub mod log;
mod registry;
mod served_elsewhere;
mod sources;
mod stall;
mod sweep;
mod unanswered;

pub use connection::{Abort, Connection, Metered, Side};
pub use registry::{Connections, Cuts};
pub use sources::Source;
pub use sweep::Sweep;
