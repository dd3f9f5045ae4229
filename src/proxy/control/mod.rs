//! The control socket, which speaks the [`interface`](crate::interface).
//!
//! - [`server`]: callers: for how long, and how much each may cost; `places`: how many, and who makes room;
//! - `methods`: what is answered to one call;
//! - `succession`: handing over to the process that takes the place of this one.
//!
//! No decision is taken here.

mod methods;
mod places;
pub mod server;
mod succession;
