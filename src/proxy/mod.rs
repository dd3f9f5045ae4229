//! The proxy between clients and a service.
//!
//! ```text
//! proxy::run  from the command line to a running proxy
//! proxy::running | proxy::listening  a proxy as a service; where it listens
//! proxy::control | proxy::take_over | proxy::restored  the control socket; taking the place of a proxy
//!     that runs; going on with what another process has left
//! proxy::assembly  all parts together
//! proxy::workers  the threads that accept, carry and hand over
//! proxy::waiting | proxy::returns | proxy::first_target  a client that waits for its upstream; one that
//!     came back from a handover; the target to begin with
//! proxy::route  where clients go: target, connector, handover
//! proxy::handover | proxy::broken  direct handover; a connection of which one side has broken
//! proxy::admitted_client  a client until its end
//! proxy::admission  the gate, and what it has let in
//! proxy::connections | proxy::keeping | proxy::descriptors  the open connections; beginning to keep them;
//!     how many there may be
//! proxy::relay | proxy::upstream | proxy::state | proxy::options | proxy::last_will | proxy::unparked | proxy::limits
//!     carrying bytes; reaching the service; lock and target as files; the command line; looking after the
//!     last will; parking when there was no room; what is logged of limits
//! proxy::gate | proxy::keep | proxy::loops | proxy::liveness | proxy::proxy_header | proxy::sources | proxy::event
//!     who may pass, and is the drain complete (pure); connections that outlive the process; clients that are
//!     the proxy itself; peers that are gone; the PROXY header; clients by source; events of the journal
//! ```
//!
//! Imports run downwards only, as in the map of the crate.

pub mod admission;
pub mod admitted_client;
pub mod assembly;
mod broken;
pub mod connections;
pub mod control;
mod descriptors;
pub mod event;
mod first_target;
pub mod gate;
pub mod handover;
pub mod keep;
mod keeping;
mod last_will;
mod limits;
mod listening;
pub mod liveness;
pub mod loops;
pub mod options;
pub mod proxy_header;
pub mod relay;
mod restored;
mod returns;
pub mod route;
pub mod run;
mod running;
pub mod sources;
pub mod state;
pub mod take_over;
mod unparked;
pub mod upstream;
mod waiting;
mod workers;
