//! Reaching the service: sockets, connecting, and what the upstream is sent first.

mod connect_attempt;
mod connector;
mod loops;
mod proxy_header;
mod spare;

pub use connect_attempt::{ConnectAttempt, ConnectedUpstream};
pub use connector::{ATTEMPT, Attempts, Connector, log_failure, pause_after};
pub use proxy_header::ProxyProtocol;
pub use spare::Spare;
