//! Looking at what comes next, where requests are told apart.

use std::task::Poll;

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, recv};

use super::direction::{Direction, End, Endpoints};
use super::memory;
use super::ready::Receipt;
use super::record;
use super::request_tracking::LookContext;
use super::rest::Rest;
use super::switch::Next;
use crate::proxy::keep::account::Place;
use crate::proxy::keep::{BUFFER, Way};
use crate::proxy::requests::{LOOK_MAX, Look, More, Opaque};

impl<'a> Endpoints<'a> {
    /// What a look needs to know. `more`: whether more bytes may join those that are looked at.
    fn look_context(&self, more: More) -> LookContext<'a> {
        LookContext {
            more,
            sink: self.sink.0,
            now: self.now,
            progress: self.progress,
        }
    }
}

impl Direction {
    /// Finds out how far the direction may pass bytes on. None in hand may pass.
    pub(super) fn look(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let (source, ready) = &mut endpoints.source;
        let Some((way, requests)) = &mut endpoints.requests else {
            return Poll::Pending;
        };
        if self.flow.is_some() {
            ready.look_for_urgent(*source);
        }
        if ready.is_urgent {
            requests.set_opaque(Opaque::Urgent);
        }
        if requests.opaque().is_some() {
            requests.pass(*way, 0);
            // A part that has waited for its rest passes now.
            ready.is_readable = true;
            return Poll::Ready(Ok(0));
        }
        let result = match requests.limit(*way).held() {
            0 if !ready.is_readable => Poll::Pending,
            0 if requests.may_hold(*way, endpoints.progress) && !self.switch.is_by_pipe() => {
                self.receive_and_look(endpoints)
            }
            0 => self.peek_and_look(endpoints),
            _ => self.look_at_held(endpoints),
        };
        if result.is_pending() && self.switch.in_hand() == 0 {
            self.switch.waits_for_source();
        }
        result
    }

    /// Receives bytes and looks at them. Those that may not pass are held.
    fn receive_and_look(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let Some(mut buffer) = memory::take() else {
            return Poll::Ready(Err(End::SourceBroken(Errno::NOBUFS)));
        };
        let (source, ready) = &mut endpoints.source;
        self.expects_break(ready);
        let (flow, place) = (self.flow, Place::Buffer(buffer.number()));
        let received = ready.receive(|| {
            record::receive(flow, place, || {
                let (bytes, _) = recv(*source, &mut buffer[..LOOK_MAX], RecvFlags::empty())?;
                let full = bytes == LOOK_MAX;
                Ok(Receipt { bytes, full })
            })
        });
        let bytes = match received {
            Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
            nothing => {
                memory::give_back(buffer);
                return match nothing {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(end) => self.meet_end(end.map(|_| ()), endpoints),
                };
            }
        };
        if self.switch.next() == Next::Fill {
            self.switch.copies_next();
        }
        self.switch.received(bytes, bytes == LOOK_MAX);
        let part = 0..bytes;
        self.rest = Some(Rest { buffer, part });
        if let Some((way, requests)) = &mut endpoints.requests {
            requests.hold(*way, bytes);
        }
        self.look_at_held(endpoints)
    }

    /// Looks at bytes in hand, and receives more if they are not enough.
    fn look_at_held(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let mut has_ended = false;
        loop {
            let (limit, may_hold) = match &endpoints.requests {
                Some((way, requests)) => (
                    requests.limit(*way),
                    requests.may_hold(*way, endpoints.progress),
                ),
                None => return Poll::Pending,
            };
            // Bytes before an end may mean something else than those before more.
            if endpoints.source.1.has_ended && may_hold && !has_ended {
                match self.receive_more(endpoints) {
                    Poll::Ready(Some(_)) => continue,
                    Poll::Ready(None) => has_ended = true,
                    Poll::Pending => {}
                }
            }
            let held = self.held(&limit);
            let bytes = &held[..held.len().min(LOOK_MAX)];
            let is_full = bytes.len() == LOOK_MAX || self.rest.as_ref().is_some_and(Rest::is_full);
            let more = match is_full || has_ended {
                true => More::No,
                false => More::MayCome,
            };
            let context = endpoints.look_context(more);
            let Some((way, requests)) = &mut endpoints.requests else {
                return Poll::Pending;
            };
            if bytes.is_empty() {
                // They are in a pipe: a process that did not tell requests apart has left them.
                requests.set_opaque(Opaque::Earlier);
            }
            match requests.look(*way, bytes, context) {
                Look::Passes => {
                    requests.pass(*way, 0);
                    return Poll::Ready(Ok(0));
                }
                Look::NeedsMore => match self.receive_more(endpoints) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) if !has_ended => has_ended = true,
                    _ if endpoints.source.1.is_urgent => return self.look(endpoints),
                    _ => return Poll::Pending,
                },
                Look::AwaitsReply => return self.await_reply(endpoints),
                Look::Surplus => return Poll::Pending,
            }
        }
    }

    /// Receives more behind the bytes in hand. Returns how many, `None` at the end.
    fn receive_more(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Option<usize>> {
        let (Some(rest), Some((way, requests))) = (&mut self.rest, &mut endpoints.requests) else {
            return Poll::Pending;
        };
        rest.make_room(self.flow);
        let room = LOOK_MAX.saturating_sub(requests.limit(*way).held());
        let end = BUFFER.min(rest.part.end + room);
        let place = &mut rest.buffer[rest.part.end..end];
        if place.is_empty() {
            return Poll::Pending;
        }
        let (source, ready) = &mut endpoints.source;
        let flow = self.flow;
        if flow.is_some() {
            ready.look_for_urgent(*source);
        }
        if ready.is_urgent {
            return Poll::Pending;
        }
        if ready.is_broken && !ready.is_counted() {
            if let Some(flow) = flow {
                flow.breaks();
            }
        }
        let received = ready.receive(|| {
            record::receive_more(flow, || {
                let (bytes, _) = recv(*source, &mut *place, RecvFlags::empty())?;
                let full = bytes == place.len();
                Ok(Receipt { bytes, full })
            })
        });
        match received {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(None),
            Poll::Ready(Ok(bytes)) => {
                rest.part.end += bytes;
                self.switch.received_more(bytes);
                requests.hold(*way, bytes);
                Poll::Ready(Some(bytes))
            }
            Poll::Ready(Err(_)) => {
                self.was_broken = true;
                Poll::Ready(None)
            }
        }
    }

    /// Looks at bytes that stay in the socket, where they outlive the process and can go to another upstream.
    fn peek_and_look(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let Some(mut buffer) = memory::take() else {
            return Poll::Ready(Err(End::SourceBroken(Errno::NOBUFS)));
        };
        let (source, ready) = &mut endpoints.source;
        self.expects_break(ready);
        // A peek may be told of a reset, which is told once.
        let flow = self.flow.filter(|_| ready.is_counted());
        let mut found = 0;
        let peeked = ready.peek(|| {
            record::receive(flow, Place::None, || {
                (found, _) = recv(*source, &mut buffer[..LOOK_MAX], RecvFlags::PEEK)?;
                Ok(Receipt::NO_BYTES)
            })
        });
        let result = match peeked {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if found > 0 => self.look_at_waiting(&buffer[..found], endpoints),
            Poll::Ready(end) => self.meet_end(end, endpoints),
        };
        memory::give_back(buffer);
        result
    }

    /// Looks at bytes that wait in the socket.
    fn look_at_waiting(
        &mut self,
        bytes: &[u8],
        endpoints: &mut Endpoints<'_>,
    ) -> Poll<Result<usize, End>> {
        let is_full = bytes.len() == LOOK_MAX;
        let more = match is_full || endpoints.source.1.has_ended {
            true => More::No,
            false => More::MayCome,
        };
        let context = endpoints.look_context(more);
        let Some((way, requests)) = &mut endpoints.requests else {
            return Poll::Pending;
        };
        match requests.look(*way, bytes, context) {
            Look::Passes => {
                let found = if is_full { 0 } else { bytes.len() };
                requests.pass(*way, found);
                return Poll::Ready(Ok(0));
            }
            // More is reported when it comes.
            Look::NeedsMore => endpoints.source.1.is_readable = false,
            Look::AwaitsReply => return self.await_reply(endpoints),
            Look::Surplus => {}
        }
        Poll::Pending
    }

    /// A request waits for the reply to the one before. A receive would find a reset only behind it.
    fn await_reply(&self, endpoints: &Endpoints<'_>) -> Poll<Result<usize, End>> {
        let (source, ready) = &endpoints.source;
        let requests = endpoints.requests.as_ref();
        let turning = requests.and_then(|(_, requests)| requests.turning);
        if !ready.is_broken || turning.is_some() {
            return Poll::Pending;
        }
        if let Some(flow) = self.flow {
            flow.source_broken();
        }
        let error = socket_error(*source).ok().and_then(Result::err);
        let errno = error.unwrap_or(Errno::CONNRESET);
        Poll::Ready(Err(End::SourceBroken(errno)))
    }

    /// The source has ended, or is broken.
    fn meet_end(
        &mut self,
        end: Result<(), Errno>,
        endpoints: &mut Endpoints<'_>,
    ) -> Poll<Result<usize, End>> {
        let is_not_told = match &mut endpoints.requests {
            Some((Way::Down, requests)) => requests.upstream_ended(endpoints.progress),
            Some((Way::Up, requests)) => {
                requests.client_ended();
                false
            }
            None => false,
        };
        if is_not_told {
            return Poll::Pending;
        }
        Poll::Ready(match end {
            Ok(()) => {
                self.switch.ended();
                Ok(0)
            }
            Err(errno) => Err(End::SourceBroken(errno)),
        })
    }
}
