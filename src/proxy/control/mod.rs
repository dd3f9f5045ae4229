//! The control socket: Varlink, see `interface.varlink`.
//!
//! - [`api`]: the types of the interface;
//! - [`server`]: callers: for how long, and how much each may cost; `places`: how many, and who makes room;
//! - `methods`: what is answered to one call;
//! - `succession`: handing over to the process that takes the place of this one.
//!
//! No decision is taken here.

pub mod api;
mod methods;
mod places;
pub mod server;
mod succession;
