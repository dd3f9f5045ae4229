//! What systemd keeps for the next process.
//!
//! All of it is under one name and is sent with one message, so that systemd has all of it or none.
//!
//! - `systemd`: its store; `parts`: what is in there.

mod parts;
mod systemd;

pub use parts::{Parts, StoreContent, recognise};
pub use systemd::{NAME, put, remove, separate};
