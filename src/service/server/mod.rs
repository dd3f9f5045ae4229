//! A server for a service of your own, which only has to say what it does with a client.
//!
//! The rest is here:
//!
//! - **socket activation**: systemd holds the sockets and starts the service for its first client ([`Listeners`]);
//! - **readiness**, the sentence of `systemctl status`, and the watchdog, by sd_notify(3);
//! - **idle exit**: without a client it ends, and a client that comes at that moment starts the next process
//!   ([`ServerLimits::exit_idle_time`]);
//! - **drain**: after SIGTERM it accepts nobody, and open connections may end by themselves
//!   ([`ServerLimits::drain_timeout`]);
//! - **direct handover**: a `disnix-tcp-proxy` with the target `handover:/PATH` passes the sockets of its clients to
//!   the service ([`Listeners::inherited`]).
//!
//! Each client has a task of its own. Clients wait while there are too many, or descriptors have run out.
//!
//! A whole service, `examples/echo-server.rs`:
//!
//! ```no_run
#![doc = include_str!("../../../examples/echo-server.rs")]
//! ```
//!
//! [`program::run`](super::program::run) makes the Tokio runtime, logs to the journal, and has the exit status. The
//! units of the service are in `doc/service-in-rust.md`.

mod acceptor;
mod client;
mod handler;
mod listeners;
mod serving;

pub use client::ServedClient;
pub use handler::ClientHandler;
pub use listeners::Listeners;
pub use serving::{ServerLimits, serve_clients};
