//! The control socket, which speaks the [`interface`](crate::interface).
//!
//! - [`server`]: serving callers, each at a bounded cost; `callers`: who is connected; `places`: how many may be,
//!   and who makes room;
//! - `methods`: what is answered to one call;
//! - `succession`: handing over to the process that takes the place of this one.
//!
//! No decision is taken here.

mod callers;
mod methods;
mod places;
pub mod server;
mod succession;
