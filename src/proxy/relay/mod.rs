//! Carries bytes between a client and its upstream: the only code that touches payload.
//!
//! Each direction copies small messages and splices bulk, as its `switch` decides; buffers and pipes
//! are the thread's, not the connection's. A half-close passes through, and the other direction goes
//! on. A reset on one side becomes a reset on the other, after what was received before it has been
//! delivered.

mod bulk;
mod direction;
mod memory;
mod noted;
mod pipe;
mod ready;
mod switch;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::proxy::keep::{BUFFER, RestoredFlow, Slot, Way};
use crate::service::poller::Flags;
use crate::service::stream::Stream;
use direction::{Between, Direction, End};
pub use memory::{allow_buffers, keep_with};
pub use pipe::allow_pipes;
pub use ready::{Ready, WATCHED};

/// Counts what the relay carries.
pub trait Meter {
    /// So many bytes came from the client.
    fn received(&self, bytes: usize);
    /// So many bytes went to the client.
    fn sent(&self, bytes: usize);
}

/// How a relayed connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides had said everything.
    Orderly,
    /// The client's connection broke, in this way.
    ClientBroken(io::ErrorKind),
    /// The upstream's connection broke, in this way.
    UpstreamBroken(io::ErrorKind),
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, until epoll(7) tells of one of the sockets.
    Waits,
    /// Another one: there is more to be carried. Others come first.
    Again,
    /// What is left to do is to close both sockets, if this is not orderly by
    /// [`deliver_then_reset`].
    Ended(Ending),
}

/// A client and its upstream, both connected, and the bytes between them.
///
/// If it is dropped before its end, bytes may be lost that were received and not sent: whoever does
/// that must reset both sockets.
#[derive(Debug)]
pub struct Relay {
    /// What is known of the client's socket.
    pub client: Ready,
    /// What is known of the upstream's.
    pub upstream: Ready,
    up: Direction,
    down: Direction,
}

impl Relay {
    /// Nothing was carried yet. With a slot everything is written down there.
    pub fn new(client: Ready, upstream: Ready, slot: Option<Slot>) -> Self {
        let flow = |way| slot.map(|slot| slot.flow(way));
        let counted = client.is_counted() && upstream.is_counted();
        Self {
            client,
            upstream,
            up: Direction::new(flow(Way::Up), counted),
            down: Direction::new(flow(Way::Down), counted),
        }
    }

    /// As another process has left it.
    pub fn restored(
        mut client: Ready,
        mut upstream: Ready,
        slot: Slot,
        flows: [RestoredFlow; 2],
    ) -> Self {
        let [up, down] = flows;
        // A side that has finished is not received from any more, and the kernel does not say again that
        // it is broken.
        for (ready, flow) in [(&mut client, &up), (&mut upstream, &down)] {
            if flow.finished && flow.source_broken {
                ready.tell(Flags::ERR);
            }
        }
        let counted = client.is_counted() && upstream.is_counted();
        Self {
            client,
            upstream,
            up: Direction::restored(slot.flow(Way::Up), counted, up),
            down: Direction::restored(slot.flow(Way::Down), counted, down),
        }
    }

    /// What the upstream is to hear before the first byte of the client, PROXY header above all.
    pub fn announce(&mut self, bytes: &[u8]) {
        self.up.preface(bytes);
    }

    /// Carries what can be carried now, at most a turn's worth each way.
    pub fn turn(
        &mut self,
        client: BorrowedFd<'_>,
        upstream: BorrowedFd<'_>,
        meter: &impl Meter,
    ) -> Turn {
        let turn = self.carry(client, upstream, meter);
        if matches!(turn, Turn::Ended(ending) if ending != Ending::Orderly) {
            // See `deliver_then_reset`.
            self.up.loses_count();
            self.down.loses_count();
        }
        turn
    }

    fn carry(
        &mut self,
        client: BorrowedFd<'_>,
        upstream: BorrowedFd<'_>,
        meter: &impl Meter,
    ) -> Turn {
        let back = self.down.end();
        let mut there = Between {
            source: (client, &mut self.client),
            sink: (upstream, &mut self.upstream),
        };
        let up = self
            .up
            .turn(&mut there, back, |bytes| meter.received(bytes));
        let back = self.up.end();
        let mut here = Between {
            source: (upstream, &mut self.upstream),
            sink: (client, &mut self.client),
        };
        let down = self.down.turn(&mut here, back, |bytes| meter.sent(bytes));
        if let Some(ending) = ending(self.up.end(), self.down.end()) {
            return Turn::Ended(ending);
        }
        // A side that has finished is not received from any more: a reset has to be watched for.
        if self.up.end() == Some(End::Finished) && self.client.is_broken() {
            return Turn::Ended(Ending::ClientBroken(how_broken(client)));
        }
        if self.down.end() == Some(End::Finished) && self.upstream.is_broken() {
            return Turn::Ended(Ending::UpstreamBroken(how_broken(upstream)));
        }
        match up || down {
            true => Turn::Again,
            false => Turn::Waits,
        }
    }
}

/// How the connection has ended, if it has, given how its directions have.
fn ending(up: Option<End>, down: Option<End>) -> Option<Ending> {
    let kind = |errno: Errno| errno.kind();
    match (up, down) {
        // Whoever broke has nothing more to say, and nothing more can be said to it.
        (Some(End::SourceBroken(errno)), _) | (Some(_), Some(End::SinkBroken(errno))) => {
            Some(Ending::ClientBroken(kind(errno)))
        }
        (_, Some(End::SourceBroken(errno))) | (Some(End::SinkBroken(errno)), Some(_)) => {
            Some(Ending::UpstreamBroken(kind(errno)))
        }
        (Some(End::Finished), Some(End::Finished)) => Some(Ending::Orderly),
        _ => None,
    }
}

/// How a socket is broken of which epoll(7) has told that it is.
pub fn how_broken(socket: impl AsFd) -> io::ErrorKind {
    match rustix::net::sockopt::socket_error(socket) {
        Ok(Ok(())) => io::ErrorKind::ConnectionReset,
        Ok(Err(errno)) | Err(errno) => errno.kind(),
    }
}

/// Makes the end of `stream` a reset, once its peer has acknowledged what was sent to it.
///
/// The kernel has no event for the last acknowledgement that epoll(7) would tell, so that it is
/// asked again, ever less often. A peer that has vanished is found by the liveness check. What the
/// peer says meanwhile is thrown away: it may not read before it has said everything.
pub async fn deliver_then_reset<S: AsFd + AsRawFd>(stream: &Stream<S>) {
    let mut pause = Duration::from_millis(1);
    while stream.tcp_info().is_some_and(|info| !info.closed) && stream.unacknowledged() > 0 {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
            () = stream.broken() => break,
            () = throw_away(stream) => {}
        }
    }
    stream.reset_on_close();
}

/// Receives whatever comes, for nobody. Cancel safe.
async fn throw_away<S: AsFd + AsRawFd>(stream: &Stream<S>) {
    let mut buffer = Vec::new();
    while stream.readable().await.is_ok() {
        buffer.resize(BUFFER, 0);
        if !matches!(stream.receive(&mut buffer).await, Ok(1..)) {
            break;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
