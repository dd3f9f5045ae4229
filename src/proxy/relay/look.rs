//! Looking at what waits in a socket, where requests are told apart.

use std::task::Poll;

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, recv};

use super::direction::{Direction, End, Endpoints};
use super::memory;
use super::ready::Receipt;
use super::record;
use crate::proxy::keep::account::Place;
use crate::proxy::keep::{BUFFER, Way};
use crate::proxy::requests::{Look, More, Opaque};

impl Direction {
    /// Finds out how far the direction may receive. Nothing is in hand. What is looked at stays in the socket, so that
    /// it outlives the process and can go to another upstream.
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
        let Some(mut buffer) = memory::take() else {
            return Poll::Ready(Err(End::SourceBroken(Errno::NOBUFS)));
        };
        self.expects_break(ready);
        // A peek may be told of a reset, which is told once.
        let flow = self.flow.filter(|_| ready.is_counted());
        let mut found = 0;
        let peeked = ready.peek(|| {
            record::receive(flow, Place::None, || {
                (found, _) = recv(*source, &mut *buffer, RecvFlags::PEEK)?;
                Ok(Receipt::NO_BYTES)
            })
        });
        let result = match peeked {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if found > 0 => self.look_at(&buffer[..found], endpoints),
            Poll::Ready(end) => self.meet_end(end, endpoints),
        };
        memory::give_back(buffer);
        if result.is_pending() {
            self.switch.waits_for_source();
        }
        result
    }

    fn look_at(&mut self, bytes: &[u8], endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let Some((way, requests)) = &mut endpoints.requests else {
            return Poll::Pending;
        };
        let (_, ready) = &mut endpoints.source;
        let (is_full, sink, now) = (bytes.len() == BUFFER, endpoints.sink.0, endpoints.now);
        let more = match is_full || ready.has_ended {
            true => More::No,
            false => More::MayCome,
        };
        match requests.look(*way, bytes, more, sink, now) {
            Look::Passes => {
                let found = if is_full { 0 } else { bytes.len() };
                requests.pass(*way, found);
                return Poll::Ready(Ok(0));
            }
            // More is reported when it comes.
            Look::NeedsMore => ready.is_readable = false,
            // A receive would not find it before it has taken what waits.
            Look::AwaitsReply if ready.is_broken && requests.turning.is_none() => {
                if let Some(flow) = self.flow {
                    flow.source_broken();
                }
                let error = socket_error(endpoints.source.0).ok().and_then(Result::err);
                let errno = error.unwrap_or(Errno::CONNRESET);
                return Poll::Ready(Err(End::SourceBroken(errno)));
            }
            Look::AwaitsReply | Look::Surplus => {}
        }
        Poll::Pending
    }

    /// The source has ended, or is broken.
    fn meet_end(
        &mut self,
        end: Result<(), Errno>,
        endpoints: &mut Endpoints<'_>,
    ) -> Poll<Result<usize, End>> {
        let is_not_told = match &mut endpoints.requests {
            Some((Way::Down, requests)) => requests.upstream_ended(),
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
