//! The proxy between clients and a service.
//!
//! ```text
//! proxy::run  the program, from its command line to its end
//! proxy::start  what it begins with: listeners, settings, the place and the connections
//!     of the process before
//! proxy::control | proxy::health  the control socket; answers to load balancers
//! proxy::assembly  all parts together; what the main loop looks after
//! proxy::workers  the threads that accept, carry and hand over
//! proxy::route  where clients go: target, connector, handover
//! proxy::admission  whether a client may enter, and its account until its end
//! proxy::relay | proxy::options  carrying bytes; the command line
//! proxy::keep | proxy::upstream | proxy::event | proxy::requests  connections that outlive the process;
//!     reaching the service; events of the journal; where requests and replies end
//! ```

mod admission;
mod assembly;
mod control;
mod event;
mod health;
pub mod keep;
pub mod options;
mod relay;
pub mod requests;
mod route;
pub mod run;
mod start;
mod upstream;
mod workers;
