//! `disnix-tcp-proxyctl add` and `remove`, with a stand-in for systemd.

mod add;
mod remove;
mod socket_proxyd;
#[path = "../support/mod.rs"]
mod support;
mod system;
