//! One direction of a relayed connection: does what [`Switch`] says.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::memory;
use super::noted::{give, take};
use super::pipe::Pipe;
use super::ready::{Ready, Received};
use super::switch::{Next, Switch};
use crate::proxy::keep::account::Place;
use crate::proxy::keep::{BUFFER, Buffer, Flow, InHand, RestoredFlow};
use crate::service::ending;

/// After so many bytes a direction lets the other connections of its thread have their turn.
const TURN: usize = 512 * 1024;

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
    pub(super) switch: Switch,
    /// What a slow sink has not taken of what was received.
    rest: Option<Rest>,
    pub(super) pipe: Option<Pipe>,
    end: Option<End>,
    /// Bytes of [`Self::preface`] that were not sent yet.
    pub(super) preface: usize,
    /// Where everything is written down, if the connection is to outlive the process.
    pub(super) flow: Option<Flow>,
    /// The process before was told that the source is broken: what comes behind the rest is no end.
    was_broken: bool,
}

/// A part of a buffer.
#[derive(Debug)]
struct Rest {
    buffer: Buffer,
    part: Range<usize>,
}

impl Direction {
    /// Nothing was carried yet. `counted`: what goes through both sockets the kernel counts.
    pub(super) fn new(flow: Option<Flow>, counted: bool) -> Self {
        Self {
            switch: match flow {
                Some(_) if !counted => Switch::by_pipe(),
                _ => Switch::new(),
            },
            rest: None,
            pipe: None,
            end: None,
            preface: 0,
            flow,
            was_broken: false,
        }
    }

    /// As another process has left it.
    pub(super) fn restored(flow: Flow, counted: bool, left: RestoredFlow) -> Self {
        let mut direction = Self::new(Some(flow), counted);
        match left.in_hand {
            InHand::Nothing => {}
            InHand::Buffer(buffer, part) => {
                direction.switch.had_received(part.len());
                direction.rest = Some(Rest { buffer, part });
            }
            InHand::Pipe(pipe, bytes) => {
                direction.switch.was_filled(bytes);
                direction.pipe = Some(Pipe::restored(pipe));
            }
        }
        let prefix = u64::from(flow.prefix_length());
        direction.preface = prefix.saturating_sub(flow.given()) as usize;
        direction.end = left.finished.then_some(End::Finished);
        direction.was_broken = left.source_broken;
        direction
    }

    /// Bytes that are sent before the first one of the source. At most as many as fit into a buffer, and
    /// none if no buffer is left.
    pub(super) fn preface(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.switch.is_by_pipe() && self.preface_by_pipe(bytes) {
            return;
        }
        let Some(mut buffer) = memory::take() else {
            return;
        };
        let length = bytes.len().min(BUFFER);
        buffer[..length].copy_from_slice(&bytes[..length]);
        if let Some(flow) = self.flow {
            flow.prefix(Place::Buffer(buffer.number()), length as u32);
        }
        self.preface = length;
        self.switch.had_received(length);
        let part = 0..length;
        self.rest = Some(Rest { buffer, part });
    }

    /// Why it has ended; `None` while it goes on.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Carries what can be carried now, at most a turn's worth, and tells `count` of what went; whether
    /// there is more to be done at once. `back` is how the other direction has ended.
    ///
    /// Of a sink that is broken it throws away what is for it while the other direction goes on: the
    /// source may not read what is for itself before it has said everything.
    pub(super) fn turn(
        &mut self,
        between: &mut Between<'_>,
        back: Option<End>,
        count: impl FnOnce(usize),
    ) -> bool {
        let goes_on_alone = |end| matches!(end, Some(End::SinkBroken(_))) && back.is_none();
        if goes_on_alone(self.end) {
            return self.throw_away(between);
        }
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
        match self.end {
            None => went >= TURN,
            end => goes_on_alone(end),
        }
    }

    /// Receives a turn's worth for nobody; whether there may be more at once.
    fn throw_away(&mut self, between: &mut Between<'_>) -> bool {
        self.loses_count();
        let Some(mut buffer) = memory::take() else {
            return false;
        };
        let (source, readiness) = &mut between.source;
        let mut thrown = 0;
        while thrown < TURN {
            let received = readiness.receive(|| {
                let (bytes, _) = rustix::net::recv(*source, &mut *buffer, RecvFlags::empty())?;
                let full = bytes == BUFFER;
                Ok(Received { bytes, full })
            });
            match received {
                Poll::Ready(Ok(bytes)) if bytes > 0 => thrown += bytes,
                // A source that is broken is found to be so by the other direction.
                _ => break,
            }
        }
        memory::give_back(buffer);
        thrown >= TURN
    }

    /// More is received than is written down from now on. That a send is under way to a sink that is
    /// broken stays written down.
    pub(super) fn loses_count(&self) {
        if let Some(flow) = self.flow {
            flow.inexact();
        }
    }

    /// Writes down that the source is broken, if the next receive may be told so: the kernel tells it once.
    /// With TCP it is known afterwards whether it has.
    pub(super) fn expects_break(&self, source: &Ready) {
        if let Some(flow) = self.flow
            && source.is_broken()
            && !source.is_counted()
        {
            flow.breaks();
        }
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
            Next::Finish if self.was_broken => {
                Poll::Ready(Err(End::SourceBroken(Errno::CONNRESET)))
            }
            // Both sockets are closed then, which tells both; nothing is left to be received. Where
            // somebody has copies of them closing tells nobody.
            Next::Finish if back == Some(End::Finished) && self.flow.is_none() => {
                ending::close_orderly(between.sink.0);
                Poll::Ready(Err(End::Finished))
            }
            Next::Finish => {
                // Before it is done: the next process does it again.
                if let Some(flow) = self.flow {
                    flow.finish();
                }
                Poll::Ready(Err(match ending::end_orderly(between.sink.0) {
                    Ok(()) => End::Finished,
                    Err(errno) => End::SinkBroken(errno),
                }))
            }
        }
    }

    /// Receives into the thread's buffer and sends from there. What the sink does not take is kept.
    fn receive(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let (source, readiness) = &mut between.source;
        if self.flow.is_some() {
            readiness.look_for_urgent(*source);
        }
        if !readiness.is_readable() {
            self.switch.waits_for_source();
            return Poll::Pending;
        }
        let Some(mut buffer) = memory::take() else {
            // There is one for each direction of each connection that may be open.
            return Poll::Ready(Err(End::SourceBroken(Errno::NOBUFS)));
        };
        self.expects_break(readiness);
        let (flow, place) = (self.flow, Place::Buffer(buffer.number()));
        if let Some(flow) = flow
            && readiness.is_urgent()
        {
            // Before it is done: a receive leaves the urgent byte out, and the kernel counts it.
            flow.inexact();
        }
        let received = readiness.receive(|| {
            take(flow, place, || {
                let (bytes, _) = rustix::net::recv(*source, &mut *buffer, RecvFlags::empty())?;
                let full = bytes == BUFFER;
                Ok(Received { bytes, full })
            })
        });
        let bytes = match received {
            Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
            nothing => {
                memory::give_back(buffer);
                return match nothing {
                    Poll::Pending => {
                        self.switch.waits_for_source();
                        Poll::Pending
                    }
                    Poll::Ready(Ok(_)) => {
                        self.switch.received(0, false);
                        Poll::Ready(Ok(0))
                    }
                    Poll::Ready(Err(errno)) => Poll::Ready(Err(End::SourceBroken(errno))),
                };
            }
        };
        self.switch.received(bytes, bytes == BUFFER);
        let part = 0..bytes;
        self.rest = Some(Rest { buffer, part });
        match self.send(between) {
            Poll::Pending => Poll::Ready(Ok(0)),
            sent => sent,
        }
    }

    /// Sends what was received, or what is left of it.
    fn send(&mut self, between: &mut Between<'_>) -> Poll<Result<usize, End>> {
        let Some(mut rest) = self.rest.take() else {
            unreachable!("the switch knows of bytes that are not there");
        };
        let (sink, readiness) = &mut between.sink;
        let bytes = &rest.buffer[rest.part.clone()];
        let flow = self.flow;
        let sent = readiness.send(*sink, || {
            give(flow, || {
                rustix::net::send(*sink, bytes, SendFlags::NOSIGNAL)
            })
        });
        let Poll::Ready(Ok(bytes)) = sent else {
            self.rest = Some(rest);
            return sent.map_err(End::SinkBroken);
        };
        rest.part.start += bytes;
        match self.switch.gave(bytes) {
            0 => memory::give_back(rest.buffer),
            _ => self.rest = Some(rest),
        }
        Poll::Ready(Ok(bytes))
    }
}

/// How a source is broken that the other direction could not send to.
///
/// The kernel tells of a reset once, and it told the one who sent: the one who receives gets the rest
/// and then what looks like the end. After `PIPE` it is one: that is what the kernel says when the
/// reset came behind the end (`tcp_reset`, net/ipv4/tcp_input.c).
fn broken(back: Option<End>) -> Option<Errno> {
    match back {
        Some(End::SinkBroken(errno)) if errno != Errno::PIPE => Some(errno),
        _ => None,
    }
}
