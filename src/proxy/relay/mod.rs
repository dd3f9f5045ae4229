//! Carries bytes between a client and its upstream: the only code that receives and sends payload.
//!
//! Each direction copies small messages and splices bulk, as its `switch` decides; buffers and pipes
//! belong to the thread, not to the connection. A half-close passes through, and the other direction
//! continues. A reset on one side becomes a reset on the other, after what was received before it has been
//! delivered. Where requests are told apart, a direction looks at what comes before it passes it on.

mod bulk;
mod connection;
mod direction;
mod first_look;
mod look;
mod memory;
mod pipe;
mod ready;
mod receive_limit;
mod record;
mod request_copy;
mod request_tracking;
mod reset;
mod rest;
mod switch;
#[cfg(test)]
mod tests;

pub use connection::{Ending, NextTurn, Relay};
pub use first_look::is_unfinished;
pub use memory::{allow_buffers, keep_with};
pub use pipe::allow_pipes;
pub use ready::{Ready, WATCHED};
pub use reset::deliver_then_reset;
