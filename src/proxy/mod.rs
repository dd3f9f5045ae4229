//! The proxy between clients and a service.
//!
//! From the bottom up; nothing imports what is below it in this list (`tests/layers.rs`):
//!
//! - [`gate`]: may this client pass, is the drain complete (pure); [`state`]: the lock and the target as files;
//! - [`keep`]: connections that outlive the process; [`relay`]: carrying bytes;
//! - [`loops`], [`upstream`]: reaching the service; [`proxy_header`]; [`sources`], [`liveness`];
//! - [`connections`]: those that are open; [`admission`]: the gate, and what it has let in;
//! - [`admitted_client`]: a client until its end; [`handover`]: or it goes to the process that serves it;
//! - [`route`]: where clients go; `waiting`, `broken`, `returns`: clients that are not carried just now;
//! - `workers`: the threads that accept and carry;
//! - `unparked`, `last_will`, [`assembly`]: all parts together; `restored`: what another process has left;
//! - [`take_over`], [`control`], `running`: a running proxy as others see it;
//! - [`options`], `keeping`, [`run`]: from the command line to a running proxy.

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
