//! Varlink, the protocol by which systemd's tools call a service: JSON messages over an AF_UNIX stream, each ended by
//! a NUL byte (<https://varlink.org/Method-Call>).
//!
//! Messages and framing only. At most a given number of bytes from a peer is buffered. The kernel closes a
//! peer's descriptors where none are expected.

mod connection;
mod message;
mod service_info;

pub use connection::{ReceiveError, VarlinkConnection};
pub use message::{Call, Reply, SERVICE_INTERFACE};
pub use service_info::ServiceInfo;
