//! Both directions of a relayed connection.

use std::io;
use std::os::fd::BorrowedFd;

use super::direction::{Direction, End, Endpoints};
use super::ready::Ready;
use super::request_tracking::{RequestProgress, RequestTracking, Turning};
use super::reset::how_broken;
use crate::proxy::keep::{RestoredFlow, Slot, Way};
use crate::proxy::requests::{Opaque, RequestKind};
use crate::service::clock::Uptime;
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
    /// The upstream has ended between two requests, and the client was not told: it gets another one when it sends the
    /// next request.
    Detach,
    /// The upstream was lost before its reply, and the client was not told: [`Relay::take_request`] can be sent again,
    /// to another one.
    Repeat,
    /// Both sockets have to be closed, after [`deliver_then_reset`](super::deliver_then_reset) if the ending
    /// is not orderly.
    Ended(Ending),
}

/// One turn while it is taken.
struct Carrying<'a> {
    /// The client's and the upstream's.
    sockets: [BorrowedFd<'a>; 2],
    now: Uptime,
    turn: Turn,
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
    /// If requests are told apart.
    requests: Option<Box<RequestTracking>>,
}

impl Relay {
    /// Nothing was carried yet. With a slot every operation is written down there. With `kind`, requests are told apart.
    pub fn new(
        client: Ready,
        upstream: Ready,
        slot: Option<Slot>,
        kind: Option<RequestKind>,
    ) -> Self {
        let mut relay = Self::without_requests(client, upstream, slot);
        relay.requests = kind.map(|kind| Box::new(RequestTracking::new(kind, slot)));
        relay
    }

    fn without_requests(client: Ready, upstream: Ready, slot: Option<Slot>) -> Self {
        let flow = |way| slot.map(|slot| slot.flow(way));
        let is_counted = client.is_counted() && upstream.is_counted();
        Self {
            client,
            upstream,
            up: Direction::new(flow(Way::Up), is_counted),
            down: Direction::new(flow(Way::Down), is_counted),
            requests: None,
        }
    }

    /// Continues as another process has left it.
    pub fn restored(
        mut client: Ready,
        mut upstream: Ready,
        slot: Slot,
        flows: [RestoredFlow; 2],
        kind: Option<RequestKind>,
    ) -> Self {
        let [up, down] = flows;
        // Nothing more is received from a side that has finished, and the kernel does not report again that
        // it is broken.
        for (ready, flow) in [(&mut client, &up), (&mut upstream, &down)] {
            if flow.finished && flow.source_broken {
                ready.update(Flags::ERR);
            }
        }
        let mut relay = Self::without_requests(client, upstream, Some(slot));
        relay.up.restore(up, slot.repeated());
        relay.down.restore(down, 0);
        relay.requests = kind.map(|kind| Box::new(RequestTracking::restored(kind, slot)));
        if let Some(requests) = &mut relay.requests {
            for (way, direction) in [(Way::Up, &relay.up), (Way::Down, &relay.down)] {
                if requests.limit(way).held() > 0 && !direction.is_in_memory() {
                    // A process that did not tell requests apart has left them in a pipe.
                    requests.set_opaque(Opaque::Earlier);
                }
            }
            Way::BOTH.iter().for_each(|way| requests.pass(*way, 0));
        }
        relay
    }

    /// Sends the PROXY header to the upstream before the first byte of the client, and behind it what the client has
    /// said before ([`Relay::take_request`]); both may be empty. Returns where the connection is in its requests then,
    /// to be written down after what was said ([`Slot::begin_repeated`]). `is_of_other_kind`: an earlier process has left
    /// the request, and has told requests of another kind apart.
    pub fn announce(&mut self, header: &[u8], request: &[u8], is_of_other_kind: bool) -> [u64; 3] {
        let (words, held) = match &mut self.requests {
            Some(requests) if !request.is_empty() => {
                let words = requests.begin_with(request, is_of_other_kind);
                (words, requests.limit(Way::Up).held())
            }
            _ => ([0; 3], 0),
        };
        self.up.preface(header, request, held);
        words
    }

    /// Carries what can be carried now, at most a turn's worth each way.
    pub fn turn(&mut self, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>, now: Uptime) -> Turn {
        let mut carrying = Carrying {
            sockets: [client, upstream],
            now,
            turn: Turn {
                received: 0,
                sent: 0,
                next: NextTurn::Waits,
            },
        };
        match self.requests {
            None => {
                self.carry(Way::Up, &mut carrying);
                self.carry(Way::Down, &mut carrying);
            }
            // Replies first: what comes while nothing is under way belongs to no request.
            Some(_) => {
                self.carry(Way::Down, &mut carrying);
                let was_opaque = self.opaque().is_some();
                self.carry(Way::Up, &mut carrying);
                if self.opaque().is_some() && !was_opaque {
                    // A part of a reply may have waited for its rest.
                    self.carry(Way::Down, &mut carrying);
                }
                if matches!(self.up.end, Some(End::SinkBroken(_))) && self.down.end.is_none() {
                    // It shows whether a reply has come.
                    self.upstream.is_readable = true;
                    self.carry(Way::Down, &mut carrying);
                }
            }
        }
        let has_more = carrying.turn.next == NextTurn::Again;
        let ending = self.ending(client, upstream);
        let next = match (self.turning(), ending) {
            (Some(turning), _) => turning,
            (None, None) if has_more => NextTurn::Again,
            (None, None) => NextTurn::Waits,
            (None, Some(Ending::Orderly)) => NextTurn::Ended(Ending::Orderly),
            (None, Some(ending)) => {
                // `deliver_then_reset` receives more.
                self.up.loses_count();
                self.down.loses_count();
                NextTurn::Ended(ending)
            }
        };
        Turn {
            next,
            ..carrying.turn
        }
    }

    /// Carries one way.
    fn carry(&mut self, way: Way, carrying: &mut Carrying<'_>) {
        let progress = match &self.requests {
            Some(requests) if !self.has_to_carry(way, requests) => return,
            Some(requests) => self.progress(requests),
            None => RequestProgress::default(),
        };
        let [client, upstream] = carrying.sockets;
        let (client, upstream) = ((client, &mut self.client), (upstream, &mut self.upstream));
        let (direction, source, sink, back) = match way {
            Way::Up => (&mut self.up, client, upstream, self.down.end),
            Way::Down => (&mut self.down, upstream, client, self.up.end),
        };
        let mut endpoints = Endpoints {
            source,
            sink,
            requests: self.requests.as_deref_mut().map(|requests| (way, requests)),
            progress,
            now: carrying.now,
        };
        let (bytes, has_more) = direction.turn(&mut endpoints, back);
        match way {
            Way::Up => carrying.turn.received += bytes,
            Way::Down => carrying.turn.sent += bytes,
        }
        if has_more {
            carrying.turn.next = NextTurn::Again;
        }
    }

    /// Whether there may be something to carry, or to find out.
    fn has_to_carry(&self, way: Way, requests: &RequestTracking) -> bool {
        let (direction, source) = match way {
            Way::Up => (&self.up, &self.client),
            Way::Down => (&self.down, &self.upstream),
        };
        let is_at_rest = direction.is_empty() && !source.is_readable;
        requests.turning.is_none() && (!is_at_rest || requests.opaque().is_some())
    }

    /// How far the request under way and the last reply have come.
    fn progress(&self, requests: &RequestTracking) -> RequestProgress {
        let [up, down] = Way::BOTH.map(|way| requests.limit(way));
        let in_hand = self.up.in_passage(up.held());
        RequestProgress {
            left: up.left(),
            in_hand: in_hand.saturating_sub(self.up.header_in_hand()) as u64,
            has_passed_reply: self.down.has_passed(&down),
            has_replies_ended: self.down.end.is_some(),
        }
    }

    fn turning(&self) -> Option<NextTurn> {
        Some(match self.requests.as_deref()?.turning? {
            Turning::Detach => NextTurn::Detach,
            Turning::Repeat => NextTurn::Repeat,
        })
    }

    /// Whether it carries bulk, one way or the other.
    pub fn carries_bulk(&self) -> bool {
        self.up.carries_bulk() || self.down.carries_bulk()
    }

    /// Whether the client could do without its upstream now: no request is under way, and no byte.
    pub fn is_between_requests(&self) -> bool {
        self.requests.as_deref().is_some_and(|requests| {
            requests.is_between()
                && requests.turning.is_none()
                && self.up.has_passed(&requests.limit(Way::Up))
                && self.down.has_passed(&requests.limit(Way::Down))
        })
    }

    /// Whether a part of a request or a reply waits for its rest, which has to be there to know where it ends.
    pub fn waits_for_rest(&self) -> bool {
        self.requests
            .as_deref()
            .is_some_and(RequestTracking::waits_for_rest)
    }

    /// As [`Self::waits_for_rest`], once each time.
    pub fn starts_to_wait_for_rest(&mut self) -> bool {
        self.requests
            .as_deref_mut()
            .is_some_and(RequestTracking::starts_to_wait_for_rest)
    }

    /// Waits for no rest any more: what is there passes as it is.
    pub fn stop_waiting_for_rest(&mut self) {
        if let Some(requests) = &mut self.requests {
            requests.stop_waiting_for_rest();
            self.client.is_readable = true;
            self.upstream.is_readable = true;
        }
    }

    /// A part of a request has waited for its rest for too long, before the client had this upstream.
    pub fn pass_unfinished(&mut self) {
        if let Some(requests) = &mut self.requests {
            requests.set_opaque(Opaque::Slow);
        }
    }

    /// Whether the next request is to be left in the client's socket.
    pub fn hold_requests(&mut self, is_held: bool) {
        if let Some(requests) = &mut self.requests {
            requests.is_held = is_held;
        }
    }

    /// Whether the upstream has answered a request.
    pub fn has_answered(&self) -> bool {
        self.requests
            .as_deref()
            .is_none_or(RequestTracking::has_answered)
    }

    /// Why requests are not told apart any more, if they were to be.
    pub fn opaque(&self) -> Option<Opaque> {
        self.requests.as_deref()?.opaque()
    }

    /// The bytes that the client has said and that may not pass yet.
    pub fn held(&self) -> usize {
        let requests = self.requests.as_deref();
        requests.map_or(0, |requests| requests.limit(Way::Up).held())
    }

    /// What another upstream gets first: the request that was not answered, after [`NextTurn::Repeat`], and what the
    /// client has said since and no upstream has got.
    pub fn take_request(&mut self) -> Vec<u8> {
        let Some(requests) = self.requests.as_deref_mut() else {
            return Vec::new();
        };
        let mut request = match requests.turning {
            Some(Turning::Repeat) => requests.take_copy(),
            _ => Vec::new(),
        };
        request.extend(self.up.held(&requests.limit(Way::Up)));
        request
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
