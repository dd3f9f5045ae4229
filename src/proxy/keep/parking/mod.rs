//! Parking: descriptors wait in sockets that systemd keeps, so that they outlive the process.
//!
//! - `budget`: how many descriptors there may be (pure); `message`: what is said of them in a lot (pure);
//! - `queue`: messages with descriptors; `lots`: both lots; `places`: what is in which of them;
//! - `shared`: the table and the lots together;
//! - `batch`: parking with one message, and later what found no room; `recycle`: discarding what has
//!   ended; `park`: parking what is new;
//! - `pipe`: pipes whose content outlives the process.

mod batch;
pub mod budget;
pub mod lots;
pub mod message;
mod park;
mod pipe;
mod places;
pub mod queue;
pub mod recycle;
mod shared;

pub use park::SlotSockets;
pub use pipe::ParkedPipe;
pub use shared::Parking;
