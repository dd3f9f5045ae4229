//! The open connections.

mod connection;
pub mod log;
mod registry;
mod served_elsewhere;
mod sources;
mod sweep;
mod unanswered;
mod unresponsive;

pub use connection::{Abort, Connection, Side};
pub use registry::{Connections, Cuts};
pub use sources::Source;
pub use sweep::Sweep;
