//! The table: what is written down of every connection, and the memory that it is in.
//!
//! - `mapping`: memory that is a file; `layout`: what the table looks like in it;
//! - `file`: the table, made or adopted; `free`: its free slots and pipes;
//! - `slot`, `flow`, `request_words`: what is written down of a connection, of each of its directions and of its requests;
//! - [`account`]: what was under way when the process died (pure); `counters`: what the kernel's counters of a socket
//!   mean (pure);
//! - `anew`: a client that gets another upstream; `held`: its request, that waits for it;
//! - `buffers`: memory for bytes in hand.

pub mod account;
mod anew;
mod buffers;
pub mod counters;
mod file;
mod flow;
mod free;
mod held;
pub mod layout;
pub mod mapping;
mod request_words;
mod slot;

pub use buffers::{Buffer, Buffers};
#[cfg(fuzzing)]
pub use file::known_top;
pub use file::{NONE, Table};
pub use flow::{Flow, Way};
pub use held::HeldRequest;
pub use request_words::RequestWords;
pub use slot::Slot;
