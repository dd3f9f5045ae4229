//! The example service: protocol, server, client.

pub mod client;
pub mod protocol;
