//! The map of the code.
//!
//! ```text
//! src/bin/*          four mains that say nothing
//!    │
//!    ├── hello       the example service: protocol, server, client
//!    ├── proxy       the gate, threads, upstream, relay, keeping, handover, connections, control
//!    ├── ctl         the verbs of disnix-tcp-proxyctl
//!    │
//!    ├── interface   what a proxy and disnix-tcp-proxyctl say to each other
//!    │
//!    └── service     what any socket-activated service needs: sockets, the loop that accepts,
//!                    epoll, systemd; no word about proxies
//! ```
//!
//! Dependencies point downwards only. Three absences are worth knowing:
//!
//! - nothing outside `proxy::relay` touches a byte of payload;
//! - no decision is taken in `proxy::control` or in `service::serve`: both feed the pure state
//!   machines (`Gate`, `IdleTimer`, `Drain`);
//! - nothing outside `service::activation` reads `LISTEN_FDS`, and nothing outside
//!   `service::notify` talks to `NOTIFY_SOCKET`.

pub mod ctl;
pub mod hello;
pub mod interface;
pub mod proxy;
pub mod service;
