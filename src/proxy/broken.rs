//! A connection of which one side has broken: the other side sees a reset, behind what it was sent before.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::admitted_client::AdmittedClient;
use super::connections::{Side, log};
use super::relay;
use crate::service::ending;
use crate::service::stream::Stream;

/// Delivers to the side that is left what the kernel still has for it, and resets it then.
pub(super) async fn deliver_the_rest(client: AdmittedClient, broken: Side, kind: io::ErrorKind) {
    let Some(connection) = client.connection() else {
        return;
    };
    if is_gone(kind) {
        log::peer_gone(connection, broken);
    }
    let upstream = connection
        .upstream
        .get()
        .map(|upstream| upstream.socket.as_fd());
    let left = match broken {
        Side::Client => upstream,
        Side::Upstream => Some(connection.client.as_fd()),
    };
    if let Some(left) = left {
        tokio::select! {
            biased;
            () = reset(left) => {}
            _ = connection.aborted() => {
                connection.reset_on_close();
                log::aborted(connection);
            }
        }
    }
    log::ended(connection);
}

async fn reset(socket: BorrowedFd<'_>) {
    match Stream::of(socket) {
        Ok(stream) => relay::deliver_then_reset(&stream).await,
        // It cannot be waited for.
        Err(_) => ending::reset_on_close(socket),
    }
}

/// Whether the kernel's own probes found that nobody is there.
fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}
