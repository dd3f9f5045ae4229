//! The control socket, which speaks the [`interface`](crate::interface).
//!
//! - [`server`]: serving callers, each at a bounded cost; `callers`: the callers that are connected; `places`: how
//!   many there may be, and which one makes room;
//! - `methods`: answering a call;
//! - `succession`: handing over to a process that takes over; `attendance`: what is left then, and passing clients on.
//!
//! No decision is taken here.

mod attendance;
pub mod callers;
mod methods;
mod places;
pub mod server;
mod succession;
