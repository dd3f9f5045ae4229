//! A connection of which one side has broken: the other side sees a reset, behind what it was sent before.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::proxy::admission::{AdmittedClient, Side, log};
use crate::proxy::relay;
use crate::service::ending;
use crate::service::stream::Stream;

/// Delivers to the intact side what the kernel still has for it, and then resets it.
pub(super) async fn deliver_and_reset(client: AdmittedClient, broken: Side, kind: io::ErrorKind) {
    let connection = client.connection();
    if is_gone(kind) {
        log::peer_gone(connection, broken);
    }
    let upstream = connection.upstream();
    let intact = match broken {
        Side::Client => upstream.as_ref().map(|to| to.socket.as_fd()),
        Side::Upstream => Some(connection.client.as_fd()),
    };
    if let Some(intact) = intact {
        tokio::select! {
            biased;
            () = reset(intact) => {}
            _ = connection.aborted() => {
                connection.reset_on_close();
                return log::aborted(connection);
            }
        }
    }
    log::ended(connection);
}

async fn reset(socket: BorrowedFd<'_>) {
    match Stream::of(socket) {
        Ok(stream) => relay::deliver_then_reset(&stream).await,
        // The runtime cannot wait for the delivery.
        Err(_) => ending::reset_on_close(socket),
    }
}

/// Whether the kernel's own probes found that the peer is gone.
fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}
