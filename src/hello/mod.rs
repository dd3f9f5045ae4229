//! The example service: protocol, server, client.

pub mod protocol;
