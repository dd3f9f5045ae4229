//! The map of the code.
//!
//! ```text
//! hello | proxy | ctl  the example service: protocol, server, client; the proxy itself; the verbs
//!                      of disnix-tcp-proxyctl
//! interface            what a proxy and disnix-tcp-proxyctl say to each other
//! service              what any socket-activated service needs: sockets, the life cycle, epoll,
//!                      systemd; no word about proxies
//! ```
//!
//! Imports run downwards only, and what stands on one line does not import from each other. Between
//! files there are no circles, and no file imports from the file of a module that it is in.
//! `tests/layers` reads this list and holds the code to it. The programs in `src/bin` stand above.
//!
//! Three absences are worth knowing:
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
