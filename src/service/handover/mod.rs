//! Direct handover, the receiving side: another process accepts clients and hands over their sockets.
//!
//! The service has a datagram socket with a path, at best held by systemd. A datagram is one client or several
//! ([`wire`]). They wait there as in an accept backlog: they survive the exit, the restart and the crash of the
//! service. [`Queue`] receives, in place of accept(2) and with the same limits.
//!
//! A client comes with a *token*, whose other end the sender holds. Closing it, also by the kernel when the process
//! dies, says that the service is done with the client. The sender has a descriptor of the client's socket
//! too, so that closing ours would send nothing:
//! [`ClientSocket`](super::client_socket::ClientSocket) ends the connection first.

pub mod wire;

mod queue;

pub(crate) use queue::check_kind;
pub use queue::{Queue, bind};
