//! The map of the code.
//!
//! ```text
//! hello | inetd | proxy | ctl  the example service: protocol, server, client; a program for each
//!                              client that is handed over; the proxy; the verbs of disnix-tcp-proxyctl
//! interface                    the control interface between a proxy and disnix-tcp-proxyctl
//! service                      what any socket-activated service needs: sockets, the life cycle, epoll,
//!                              systemd; it knows nothing of proxies
//! ```
//!
//! Imports run downwards only. Modules on one line do not import from each other, files do not import in
//! circles, and no file imports from the file of a module that it is in. `tests/layers` reads this list and
//! enforces that. The programs in `src/bin` are above. `doc/architecture.md` has the laws and the paths.
//!
//! For services outside this project: [`service::server`], and `doc/service-in-rust.md`.

pub mod ctl;
pub mod hello;
pub mod inetd;
pub mod interface;
pub mod proxy;
pub mod service;
