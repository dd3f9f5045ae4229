//! The proxy between clients and a service.
//!
//! ```text
//! proxy::run  the program, from its command line to its end
//! proxy::start  what it begins with: listeners, settings, the connections of the process before
//! proxy::control | proxy::take_over  the control socket; taking the place of a proxy that runs
//! proxy::assembly  all parts together; what the main loop looks after
//! proxy::workers  the threads that accept, carry and hand over
//! proxy::route  where clients go: target, connector, handover
//! proxy::handover  direct handover
//! proxy::admitted_client  a client until its end
//! proxy::admission  the gate's mutex and effects
//! proxy::connections  the open connections
//! proxy::relay | proxy::state | proxy::options  carrying bytes; lock and target as files; the command line
//! proxy::gate | proxy::keep | proxy::upstream | proxy::event  whether a client may pass, and whether the drain
//!     is complete (pure); connections that outlive the process; reaching the service; events of the journal
//! ```
//!
//! Imports run downwards only, as in the map of the crate.

mod admission;
mod admitted_client;
mod assembly;
mod connections;
mod control;
mod event;
mod gate;
mod handover;
pub mod keep;
pub mod options;
mod relay;
mod route;
pub mod run;
mod start;
mod state;
mod take_over;
mod upstream;
mod workers;
