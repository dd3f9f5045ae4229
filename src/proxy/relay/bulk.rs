//! Splicing through a pipe.

use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::direction::{Direction, End, Endpoints};
use super::pipe::{CAPACITY_MIN, Pipe};
use super::ready::Receipt;
use super::record;
use super::switch::Next;
use crate::proxy::keep::account::Place;

impl Direction {
    /// The least capacity of a pipe that is of use. Where bytes can only be counted in a pipe, it is any: those
    /// that go through a buffer would be uncertain if the process were killed at that moment.
    fn capacity_min(&self) -> usize {
        match self.switch.is_by_pipe() {
            true => 1,
            false => CAPACITY_MIN,
        }
    }

    /// Puts the preface into a pipe. Returns whether that was possible.
    pub(super) fn preface_by_pipe(&mut self, bytes: &[u8]) -> bool {
        let Some(pipe) = Pipe::take(self.capacity_min()) else {
            return false;
        };
        if pipe.put(bytes) != Ok(bytes.len()) {
            return false;
        }
        if let Some(flow) = self.flow {
            flow.prefix(pipe.place(), bytes.len() as u32);
        }
        self.preface = bytes.len() as u32;
        self.switch.begins_in_pipe(bytes.len());
        self.pipe = Some(pipe);
        true
    }

    /// Splices from the source into a pipe.
    pub(super) fn fill(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let capacity_min = self.capacity_min();
        let Some(pipe) = self.pipe.take().or_else(|| Pipe::take(capacity_min)) else {
            self.switch.copies_next();
            return Poll::Ready(Ok(0));
        };
        let reach = endpoints.limit().of(self.switch.reach());
        let (source, ready) = &mut endpoints.source;
        self.expects_break(ready);
        let is_exceptional = ready.is_exceptional;
        let (flow, place) = (self.flow, pipe.place());
        let filled = ready.receive(|| {
            let receipt = record::receive(flow, place, || {
                let bytes = pipe.fill(*source, reach)?;
                // The source may have had more than fitted.
                Ok(Receipt { bytes, full: true })
            });
            match receipt {
                // Perhaps before urgent data.
                Err(Errno::AGAIN) if is_exceptional => Ok(Receipt::NO_BYTES),
                receipt => receipt,
            }
        });
        if let Poll::Ready(Ok(bytes @ 1..)) = filled {
            self.switch.filled(bytes);
            endpoints.received(bytes, None);
            self.pipe = Some(pipe);
            return Poll::Ready(Ok(0));
        }
        let filled = match filled {
            Poll::Ready(Ok(_)) => self.peek(endpoints, place),
            filled => filled,
        };
        pipe.give_back();
        match filled {
            Poll::Ready(Ok(0)) => self.switch.ended(),
            // A receive goes past urgent data. If the socket cannot be peeked into, a receive finds the end.
            Poll::Ready(Ok(_) | Err(Errno::OPNOTSUPP)) => self.switch.copies_next(),
            Poll::Ready(Err(Errno::INVAL)) => self.switch.cannot_splice(),
            Poll::Ready(Err(errno)) => return Poll::Ready(Err(End::SourceBroken(errno))),
            Poll::Pending => {
                self.switch.waits_for_source();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Returns the number of bytes that a receive of one byte would get. Splicing returns nothing at the end,
    /// but also before urgent data (`tcp_splice_read`, net/ipv4/tcp.c). It is written down as a receive of
    /// nothing, because the kernel may report a reset, which it does once.
    fn peek(&self, endpoints: &mut Endpoints<'_>, place: Place) -> Poll<Result<usize, Errno>> {
        let (source, ready) = &mut endpoints.source;
        let mut peeked = 0;
        let receipt = ready.receive(|| {
            record::receive(self.flow, place, || {
                (peeked, _) = recv(*source, &mut [0; 1], RecvFlags::PEEK)?;
                Ok(Receipt::NO_BYTES)
            })
        });
        receipt.map_ok(|_| peeked)
    }

    /// Splices from the pipe to the sink.
    pub(super) fn drain(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let Some(pipe) = &self.pipe else {
            unreachable!("the switch knows of a pipe that is not there");
        };
        let in_pipe = self.switch.in_pipe();
        let (sink, ready) = &mut endpoints.sink;
        let flow = self.flow;
        let drained = ready.send(*sink, || record::send(flow, || pipe.drain(*sink, in_pipe)));
        let Poll::Ready(drained) = drained else {
            self.switch.waits_for_sink();
            return Poll::Pending;
        };
        let bytes = drained.map_err(End::SinkBroken)?;
        if self.switch.gave(bytes) == 0 && self.switch.next() != Next::Fill {
            if let Some(pipe) = self.pipe.take() {
                pipe.give_back();
            }
        }
        Poll::Ready(Ok(bytes))
    }
}
