//! One direction of a relayed connection: does what [`Switch`] says.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::task::{Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::pipe::Pipe;
use super::ready::{Ready, Received};
use super::switch::{Next, Switch};

/// How much is copied at once. One such buffer serves all connections of a thread: none belongs to a
/// connection, unless its receiver is slow.
const BUFFER: usize = 64 * 1024;

/// After so many bytes a direction lets the other connections of its thread have their turn.
const TURN: usize = 512 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Why a direction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source has said everything, and the sink was told so.
    Finished,
    /// Receiving failed: the source was reset or is gone. Everything that came before was sent.
    SourceBroken(Errno),
    /// Sending failed: the sink was reset or is gone.
    SinkBroken(Errno),
}

/// From where to where.
#[derive(Debug)]
pub(super) struct Between<'a> {
    pub(super) source: (BorrowedFd<'a>, &'a mut Ready),
    pub(super) sink: (BorrowedFd<'a>, &'a mut Ready),
}

/// One direction. While nothing comes, it holds no memory and no pipe; while its sink is slow at most
/// one buffer or one pipe, and nothing more is received.
#[derive(Debug)]
pub(super) struct Direction {
    switch: Switch,
    /// What a slow sink has not taken of what was received, with the bytes at its start that it has.
    rest: Option<(Box<[u8]>, usize)>,
    pipe: Option<Pipe>,
    end: Option<End>,
    /// Bytes of [`Self::preface`] that were not sent yet.
    preface: usize,
}

impl Direction {
    /// Nothing was carried yet.
    pub(super) fn new() -> Self {
        Self {
            switch: Switch::new(),
            rest: None,
            pipe: None,
            end: None,
            preface: 0,
        }
    }

    /// Bytes that are sent before the first one of the source.
    pub(super) fn preface(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.preface = bytes.len();
            self.switch.received(bytes.len(), false);
            self.rest = Some((bytes.into_boxed_slice(), 0));
        }
    }

    /// Why it has ended; `None` while it goes on.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Carries what can be carried now, at most a turn's worth, and tells `count` of what went; whether
    /// there is more to be done at once. `back` is how the other direction has ended.
    pub(super) fn turn(
        &mut self,
        between: &mut Between<'_>,
        back: Option<End>,
        count: impl FnOnce(usize),
    ) -> bool {
        let mut went = 0;
        while self.end.is_none() && went < TURN {
            match self.step(between, back) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) => went += bytes,
                Poll::Ready(Err(end)) => self.end = Some(end),
            }
            if let (Next::Finish, Some(errno)) = (self.switch.next(), broken(back)) {
                self.end = Some(End::SourceBroken(errno));
            }
        }
        if went > 0 {
            count(went - self.uncounted(went));
        }
        if self.end.is_some() {
            // A sink that broke has left some behind.
            (self.pipe, self.rest) = (None, None);
        }
        self.end.is_none() && went >= TURN
    }

    /// How many of the bytes that went were not the source's.
    fn uncounted(&mut self, went: usize) -> usize {
        let ours = went.min(self.preface);
        self.preface -= ours;
        ours
    }

    /// Takes one step; how many bytes went to the sink.
    fn step(&mut self, between: &mut Between<'_>, back: Option<End>) -> Poll<Result<usize, End>> {
        match self.switch.next() {
            Next::Receive => self.receive(between),
            Next::Send => self.send(between),
            Next::Fill => self.fill(between),
            Next::Drain => self.drain(between),
            // Both sockets are closed then, which tells both; nothing is left to be received.
            Next::Finish if back == Some(End::Finished) => Poll::Ready(Err(End::Finished)),
            Next::Finish => {
                let shut = rustix::net::shutdown(between.sink.0, Shutdown::Write);
                Poll::Ready(Err(match shut {
                    Ok(()) => End::Finished,
                    Err(errno) => End::SinkBroken(errno),
                }))
            }
        }
    }

    /// Receives into the thread's buffer and sends from there. What the sink does not take is kept.
    fn receive(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Between {
            source: (source, readiness),
            sink,
        } = between;
        SCRATCH.with_borrow_mut(|buffer| {
            let size = buffer.len();
            let received = readiness.receive(|| {
                let (bytes, _) = rustix::net::recv(*source, &mut **buffer, RecvFlags::empty())?;
                let full = bytes == size;
                Ok(Received { bytes, full })
            });
            let Poll::Ready(received) = received else {
                self.switch.waits_for_source();
                return Poll::Pending;
            };
            let received = received.map_err(End::SourceBroken)?;
            self.switch.received(received, received == size);
            if received == 0 {
                return Poll::Ready(Ok(0));
            }
            let received = &buffer[..received];
            let sent = match send(sink, received) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            if self.switch.gave(sent) > 0 {
                self.rest = Some((received[sent..].into(), 0));
            }
            Poll::Ready(Ok(sent))
        })
    }

    /// Sends what is left from before.
    fn send(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some((rest, taken)) = &mut self.rest else {
            unreachable!("the switch knows of bytes that are not there");
        };
        let sent = ready!(send(&mut between.sink, &rest[*taken..]))?;
        *taken += sent;
        if self.switch.gave(sent) == 0 {
            self.rest = None;
        }
        Poll::Ready(Ok(sent))
    }

    fn fill(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some(pipe) = self.pipe.take().or_else(Pipe::take) else {
            self.switch.no_pipe();
            return Poll::Ready(Ok(0));
        };
        let reach = self.switch.reach();
        let (source, readiness) = &mut between.source;
        let is_exceptional = readiness.is_exceptional();
        let filled = readiness.receive(|| {
            let bytes = match pipe.fill(*source, reach) {
                // Splicing stops in front of urgent data and does not say so.
                Err(Errno::AGAIN) if is_exceptional => return Err(Errno::INVAL),
                filled => filled?,
            };
            // How much there was cannot be told from how much fits.
            Ok(Received { bytes, full: true })
        });
        match filled {
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                self.switch.filled(bytes);
                self.pipe = Some(pipe);
                return Poll::Ready(Ok(0));
            }
            Poll::Ready(Ok(_)) => self.switch.filled(0),
            Poll::Ready(Err(Errno::INVAL)) => self.switch.cannot_splice(),
            Poll::Ready(Err(errno)) => {
                pipe.give_back();
                return Poll::Ready(Err(End::SourceBroken(errno)));
            }
            Poll::Pending => {
                self.switch.waits_for_source();
                pipe.give_back();
                return Poll::Pending;
            }
        }
        pipe.give_back();
        Poll::Ready(Ok(0))
    }

    fn drain(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some(pipe) = &self.pipe else {
            unreachable!("the switch knows of a pipe that is not there");
        };
        let held = self.switch.in_pipe();
        let (sink, readiness) = &mut between.sink;
        let Poll::Ready(drained) = readiness.send(*sink, || pipe.drain(*sink, held)) else {
            self.switch.waits_for_sink();
            return Poll::Pending;
        };
        let drained = drained.map_err(End::SinkBroken)?;
        self.switch.gave(drained);
        Poll::Ready(Ok(drained))
    }
}

/// How a source is broken that the other direction could not send to.
///
/// The kernel tells of a reset once, and it told the one who sent: the one who receives gets the rest
/// and then what looks like the end. After `PIPE` it is one: that is what the kernel says when the
/// reset came behind the end (`tcp_reset`, `net/ipv4/tcp_input.c`).
fn broken(back: Option<End>) -> Option<Errno> {
    match back {
        Some(End::SinkBroken(errno)) if errno != Errno::PIPE => Some(errno),
        _ => None,
    }
}

fn send(
    (sink, readiness): &mut (BorrowedFd<'_>, &mut Ready),
    bytes: &[u8],
) -> Poll<Result<usize, End>> {
    readiness
        .send(*sink, || {
            rustix::net::send(*sink, bytes, SendFlags::NOSIGNAL)
        })
        .map_err(End::SinkBroken)
}
