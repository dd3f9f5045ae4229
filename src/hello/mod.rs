//! The example service: protocol, server, client.

pub mod client;
pub mod options;
pub mod protocol;
pub mod server;
