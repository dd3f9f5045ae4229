//! The open connections.

mod abort;
mod connection;
pub mod log;
mod registry;
mod served_elsewhere;
mod sources;
mod sweep;
mod traffic;
mod unanswered;
mod unresponsive;

pub use abort::{Abort, Side};
pub use connection::Connection;
pub use registry::{Connections, Cuts};
pub use sources::Source;
pub use sweep::Sweep;
