//! Direct handover: another process accepts clients and hands their sockets over.
//!
//! The process that serves has a datagram socket, at best held by systemd, with a path. A
//! datagram is a client or several ([`wire`]): they wait there as clients wait in the backlog of a
//! listening socket, and like those survive the exit, the restart and the crash of whoever receives it.
//! [`Queue`] receives; receiving takes the place of accept(2), with the same limits.
//!
//! With the client comes a *token*, a descriptor of which the sender holds the other end. Closing it
//! says that the client is not served any more; that the kernel closes it says the same when a
//! process is killed. The sender keeps a descriptor of the client's socket too, so that closing ours
//! alone would send nothing: [`ClientSocket`] ends the connection first as close(2) would have.

pub mod wire;

mod client;
mod queue;

pub use client::ClientSocket;
pub use queue::{Queue, Received, bind, check_kind};
