//! A reset behind the bytes that were sent before it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::proxy::keep::BUFFER;
use crate::service::stream::{Stream, take_error};
use crate::service::{ending, kernel};

/// The error of a socket that epoll(7) reports as broken.
pub(super) fn how_broken(socket: impl AsFd) -> io::ErrorKind {
    take_error(socket).map_or(io::ErrorKind::ConnectionReset, |error| error.kind())
}

/// Makes the end of `stream` a reset, once its peer has acknowledged what was sent to it.
///
/// epoll(7) does not report the last acknowledgement, so the kernel is asked again, less and less often. The
/// liveness check finds a peer that has vanished. What the peer sends meanwhile is discarded: it may not
/// read before it has sent everything.
pub async fn deliver_then_reset<S: AsFd + AsRawFd>(stream: &Stream<S>) {
    let mut pause = Duration::from_millis(1);
    let is_open = || kernel::tcp_info(stream).is_ok_and(|info| !info.closed);
    while is_open() && kernel::unacknowledged_bytes(stream.as_fd()).is_ok_and(|bytes| bytes > 0) {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
            () = stream.broken() => break,
            () = discard(stream) => {}
        }
    }
    ending::reset_on_close(stream);
}

/// Receives and discards, and never returns. Cancel safe.
async fn discard<S: AsFd + AsRawFd>(stream: &Stream<S>) {
    let mut buffer = Vec::new();
    while stream.readable().await.is_ok() {
        buffer.resize(BUFFER, 0);
        if !matches!(stream.receive(&mut buffer).await, Ok(1..)) {
            break;
        }
    }
    std::future::pending().await
}
