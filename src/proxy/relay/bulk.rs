//! Through a pipe.

use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::direction::{Between, Direction, End};
use super::noted::{give, take};
use super::pipe::Pipe;
use super::ready::Received;
use super::switch::Next;
use crate::proxy::keep::account::Place;

impl Direction {
    /// Puts into a pipe what is sent before the first byte of the source; whether it could be.
    pub(super) fn preface_by_pipe(&mut self, bytes: &[u8]) -> bool {
        let Some(pipe) = Pipe::take() else {
            return false;
        };
        if pipe.put(bytes) != Ok(bytes.len()) {
            return false;
        }
        if let Some(flow) = self.flow {
            flow.prefix(pipe.place(), bytes.len() as u32);
        }
        self.preface = bytes.len();
        self.switch.was_filled(bytes.len());
        self.pipe = Some(pipe);
        true
    }

    /// Splices from the source into a pipe.
    pub(super) fn fill(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some(pipe) = self.pipe.take().or_else(Pipe::take) else {
            self.switch.copies_next();
            return Poll::Ready(Ok(0));
        };
        let reach = self.switch.reach();
        let (source, readiness) = &mut between.source;
        self.expects_break(readiness);
        let is_exceptional = readiness.is_exceptional();
        let (flow, place) = (self.flow, pipe.place());
        let filled = readiness.receive(|| {
            let received = take(flow, place, || {
                let bytes = pipe.fill(*source, reach)?;
                // How much there was cannot be told from how much fits.
                Ok(Received { bytes, full: true })
            });
            match received {
                // In front of urgent data, perhaps.
                Err(Errno::AGAIN) if is_exceptional => Ok(Received {
                    bytes: 0,
                    full: true,
                }),
                received => received,
            }
        });
        if let Poll::Ready(Ok(bytes)) = filled
            && bytes > 0
        {
            self.switch.filled(bytes);
            self.pipe = Some(pipe);
            return Poll::Ready(Ok(0));
        }
        let filled = match filled {
            Poll::Ready(Ok(_)) => self.look_behind(between, place),
            filled => filled,
        };
        pipe.give_back();
        match filled {
            Poll::Ready(Ok(0)) => self.switch.ended(),
            // A receive goes past urgent data. Not every socket can be looked into: it will tell, too.
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

    /// Returns how many bytes a receive of one byte would get, without taking it. Splicing has come to
    /// nothing: at the end, or in front of urgent data (`tcp_splice_read`, net/ipv4/tcp.c). It is written
    /// down as a receive of nothing, for the kernel may tell of a reset, which it does once.
    fn look_behind(&self, between: &mut Between<'_>, place: Place) -> Poll<Result<usize, Errno>> {
        let (source, readiness) = &mut between.source;
        let mut seen = 0;
        let looked = readiness.receive(|| {
            take(self.flow, place, || {
                (seen, _) = recv(*source, &mut [0; 1], RecvFlags::PEEK)?;
                Ok(Received {
                    bytes: 0,
                    full: true,
                })
            })
        });
        looked.map_ok(|_| seen)
    }

    /// Splices from the pipe to the sink.
    pub(super) fn drain(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some(pipe) = &self.pipe else {
            unreachable!("the switch knows of a pipe that is not there");
        };
        let held = self.switch.in_pipe();
        let (sink, readiness) = &mut between.sink;
        let flow = self.flow;
        let drained = readiness.send(*sink, || give(flow, || pipe.drain(*sink, held)));
        let Poll::Ready(drained) = drained else {
            self.switch.waits_for_sink();
            return Poll::Pending;
        };
        let drained = drained.map_err(End::SinkBroken)?;
        if self.switch.gave(drained) == 0
            && self.switch.next() != Next::Fill
            && let Some(pipe) = self.pipe.take()
        {
            pipe.give_back();
        }
        Poll::Ready(Ok(drained))
    }
}
