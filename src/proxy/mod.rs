//! The proxy between clients and a service.
//!
//! ```text
//! proxy::run  from the command line to a running proxy
//! proxy::running | proxy::start  a proxy as a service; its listeners, its target, and how many connections
//!     there may be
//! proxy::control | proxy::take_over | proxy::restored  the control socket; taking the place of a proxy
//!     that runs; continuing with the connections of another process
//! proxy::assembly  all parts together
//! proxy::workers  the threads that accept, carry and hand over
//! proxy::waiting | proxy::returns  a client that waits for its upstream; one that returns from a handover
//! proxy::route  where clients go: target, connector, handover
//! proxy::handover | proxy::broken  direct handover; a connection of which one side has broken
//! proxy::admitted_client  a client until its end
//! proxy::admission  the gate's mutex and effects
//! proxy::connections | proxy::keeping  the open connections; whether and how they are kept
//! proxy::relay | proxy::state | proxy::options | proxy::last_will | proxy::unparked  carrying bytes; lock and
//!     target as files; the command line; renewing the last will; parking later what found no room
//! proxy::gate | proxy::keep | proxy::upstream | proxy::event  whether a client may pass, and whether the drain
//!     is complete (pure); connections that outlive the process; reaching the service; events of the journal
//! ```
//!
//! Imports run downwards only, as in the map of the crate.

mod admission;
mod admitted_client;
mod assembly;
mod broken;
mod connections;
mod control;
mod event;
mod gate;
mod handover;
pub mod keep;
mod keeping;
mod last_will;
pub mod options;
mod relay;
mod restored;
mod returns;
mod route;
pub mod run;
mod running;
mod start;
mod state;
mod take_over;
mod unparked;
mod upstream;
mod waiting;
mod workers;
