//! Finding everything again that an earlier process has left.
//!
//! Nothing is taken out of the lots: they are looked at, and the descriptors that come of it are copies.
//! So this may be interrupted at any point, and done again.
//!
//! - `contents`: which descriptors belong to what; `sockets`: those of a connection;
//! - `settle`: where a connection is;
//! - `supply`: buffers and pipes; `strays`: clients that were not in the table;
//! - `restoration`: deciding what becomes of them all; `restored_connection`: what that is;
//! - `discard`: ending all of them.

mod contents;
mod discard;
mod restoration;
mod restored_connection;
mod settle;
mod sockets;
mod strays;
mod supply;

pub use discard::{discard, reset_all};
pub use restoration::Restoration;
pub use restored_connection::{InHand, LostConnection, RestoredConnection, RestoredFlow, Stage};
#[cfg(fuzzing)]
pub use settle::settle;
#[cfg(fuzzing)]
pub use sockets::Sockets;
#[cfg(test)]
pub use strays::cookie;
