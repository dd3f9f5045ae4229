//! The proxy between clients and a service.
//!
//! - [`gate`]: may this client pass, is the drain complete (pure);
//! - [`shell`]: the gate in the world, the one place where it is asked, told, and acted upon;
//! - [`run`], `running`: from the command line to a running proxy, as a service;
//! - [`take_over`]: taking the place of a proxy that runs;
//! - [`passed`], `client`, [`upstream`], [`proxy_header`]: what happens to a client that has passed;
//! - `workers`, [`relay`]: the threads that carry connections, and how;
//! - [`handover`]: or it goes to the process that serves it;
//! - `descriptors`: how many of them there may be, and pipes;
//! - [`keep`], `keeping`, `restored`: what of it outlives the process, beginning to keep it, and going on with
//!   what another process has left;
//! - [`connections`], [`liveness`]: those that are open, and those that only seem to be;
//! - [`state`]: what outlives the process;
//! - [`control`]: what operators and deployment tools can ask for;
//! - [`options`]: the command line; [`event`] and `notices`: the journal.

mod client;
pub mod connections;
pub mod control;
mod descriptors;
pub mod event;
pub mod gate;
pub mod handover;
pub mod keep;
mod keeping;
mod last_will;
mod limits;
pub mod liveness;
pub mod loops;
mod notices;
pub mod options;
pub mod passed;
pub mod proxy_header;
pub mod relay;
mod restored;
pub mod run;
mod running;
pub mod shell;
pub mod sources;
pub mod state;
pub mod take_over;
pub mod upstream;
mod workers;
