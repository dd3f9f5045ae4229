//! Varlink, systemd's own way to call a program: JSON messages over an AF_UNIX stream, each ended
//! by a NUL byte (<https://varlink.org/Method-Call>).
//!
//! The messages and their framing only; what a service does with a call is its own affair. A peer
//! can make us hold no more than the given limit of bytes, whatever it sends. Descriptors that a
//! peer sends are taken only where they are expected; elsewhere the kernel closes them.

mod connection;
mod message;
mod service_info;

pub use connection::{ReceiveError, VarlinkConnection};
pub use message::{Call, Reply, SERVICE_INTERFACE};
pub use service_info::ServiceInfo;
