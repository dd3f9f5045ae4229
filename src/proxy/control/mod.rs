//! The control socket: Varlink, see `interface.varlink`.

pub mod api;
