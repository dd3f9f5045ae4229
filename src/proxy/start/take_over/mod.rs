//! Taking the place of a proxy that runs: `--take-over`.
//!
//! Where no systemd holds the listening sockets, the process that runs hands them to its successor
//! over the control socket. Until [`Predecessor::retire`] has its answer, giving up changes nothing.

mod error;
mod predecessor;

pub use error::TakeOverError;
pub use predecessor::{Predecessor, ask};
