//! Both directions of a relayed connection.

use std::io;
use std::os::fd::BorrowedFd;

use super::direction::{Direction, End, Endpoints};
use super::ready::Ready;
use super::reset::how_broken;
use crate::proxy::keep::{RestoredFlow, Slot, Way};
use crate::service::kernel::{has_unread, unacknowledged_bytes};
use crate::service::poller::Flags;

/// How a relayed connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both directions ended in order.
    Orderly,
    /// The client's side broke, with this error.
    ClientBroken(io::ErrorKind),
    /// The upstream's side broke, with this error.
    UpstreamBroken(io::ErrorKind),
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Bytes of the client that were sent to the upstream, without those of [`Relay::announce`].
    pub received: usize,
    /// Bytes that were sent to the client.
    pub sent: usize,
    pub next: NextTurn,
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTurn {
    /// Nothing, until epoll(7) reports one of the sockets.
    Waits,
    /// Another turn, after those of other connections: there is more to be carried.
    Again,
    /// Both sockets have to be closed, after [`deliver_then_reset`](super::deliver_then_reset) if the ending
    /// is not orderly.
    Ended(Ending),
}

/// A client and its upstream, both connected, and the bytes between them.
///
/// If it is dropped before its end, bytes that were received and not sent are lost: then both sockets have to
/// be reset.
#[derive(Debug)]
pub struct Relay {
    /// What is known of the client's socket.
    pub client: Ready,
    /// What is known of the upstream's socket.
    pub upstream: Ready,
    up: Direction,
    down: Direction,
}

impl Relay {
    /// Nothing was carried yet. With a slot every operation is written down there.
    pub fn new(client: Ready, upstream: Ready, slot: Option<Slot>) -> Self {
        let flow = |way| slot.map(|slot| slot.flow(way));
        let is_counted = client.is_counted() && upstream.is_counted();
        Self {
            client,
            upstream,
            up: Direction::new(flow(Way::Up), is_counted),
            down: Direction::new(flow(Way::Down), is_counted),
        }
    }

    /// Continues as another process has left it.
    pub fn restored(
        mut client: Ready,
        mut upstream: Ready,
        slot: Slot,
        flows: [RestoredFlow; 2],
    ) -> Self {
        let [up, down] = flows;
        // Nothing more is received from a side that has finished, and the kernel does not report again that
        // it is broken.
        for (ready, flow) in [(&mut client, &up), (&mut upstream, &down)] {
            if flow.finished && flow.source_broken {
                ready.update(Flags::ERR);
            }
        }
        let mut relay = Self::new(client, upstream, Some(slot));
        relay.up.restore(up);
        relay.down.restore(down);
        relay
    }

    /// Sends `bytes` to the upstream before the first byte of the client, such as the PROXY header.
    pub fn announce(&mut self, bytes: &[u8]) {
        self.up.preface(bytes);
    }

    /// Carries what can be carried now, at most a turn's worth each way.
    pub fn turn(&mut self, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>) -> Turn {
        let back = self.down.end;
        let mut endpoints = Endpoints {
            source: (client, &mut self.client),
            sink: (upstream, &mut self.upstream),
        };
        let (received, up) = self.up.turn(&mut endpoints, back);
        let back = self.up.end;
        let mut endpoints = Endpoints {
            source: (upstream, &mut self.upstream),
            sink: (client, &mut self.client),
        };
        let (sent, down) = self.down.turn(&mut endpoints, back);
        let next = match self.ending(client, upstream) {
            None if up || down => NextTurn::Again,
            None => NextTurn::Waits,
            Some(Ending::Orderly) => NextTurn::Ended(Ending::Orderly),
            Some(ending) => {
                // `deliver_then_reset` receives more.
                self.up.loses_count();
                self.down.loses_count();
                NextTurn::Ended(ending)
            }
        };
        Turn {
            received,
            sent,
            next,
        }
    }

    /// Ends both sides in order, unless bytes are on their way or a side has ended. Returns whether it has ended
    /// them. What a peer sends at this moment is lost, as with a server that ends a connection that is idle.
    pub fn close_if_empty(&mut self, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>) -> bool {
        let has_bytes = |socket| {
            has_unread(socket) || unacknowledged_bytes(socket).is_ok_and(|bytes| bytes > 0)
        };
        let is_empty = self.up.is_empty() && self.down.is_empty();
        if !is_empty || has_bytes(client) || has_bytes(upstream) {
            return false;
        }
        self.down.close(client);
        self.up.close(upstream);
        true
    }

    /// How the connection has ended, if it has.
    fn ending(&self, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>) -> Option<Ending> {
        Some(match (self.up.end, self.down.end) {
            // A side that is broken neither sends nor receives any more.
            (Some(End::SourceBroken(errno)), _) | (Some(_), Some(End::SinkBroken(errno))) => {
                Ending::ClientBroken(errno.kind())
            }
            (_, Some(End::SourceBroken(errno))) | (Some(End::SinkBroken(errno)), Some(_)) => {
                Ending::UpstreamBroken(errno.kind())
            }
            (Some(End::Finished), Some(End::Finished)) => Ending::Orderly,
            // Nothing more is received from a side that has finished, so no receive finds a reset.
            (Some(End::Finished), _) if self.client.is_broken => {
                Ending::ClientBroken(how_broken(client))
            }
            (_, Some(End::Finished)) if self.upstream.is_broken => {
                Ending::UpstreamBroken(how_broken(upstream))
            }
            _ => return None,
        })
    }
}
