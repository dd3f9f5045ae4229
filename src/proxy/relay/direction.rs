//! One direction of a relayed connection: does what [`Switch`] says.

use std::os::fd::BorrowedFd;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::memory;
use super::pipe::Pipe;
use super::ready::{Ready, Receipt};
use super::receive_limit::ReceiveLimit;
use super::record;
use super::request_tracking::{RequestProgress, RequestTracking};
use super::rest::Rest;
use super::switch::{Next, Switch};
use crate::proxy::keep::account::Place;
use crate::proxy::keep::{BUFFER, Buffer, Flow, InHand, RestoredFlow, Way};
use crate::service::clock::Uptime;
use crate::service::ending;

/// The bytes after which a direction lets the other connections of its thread have their turn.
const TURN: usize = 512 * 1024;

/// Why a direction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source has ended, and so was the sink.
    Finished,
    /// Receiving failed: the source was reset or is gone. Everything that came before was sent.
    SourceBroken(Errno),
    /// Sending failed: the sink was reset or is gone.
    SinkBroken(Errno),
}

#[derive(Debug)]
pub(super) struct Endpoints<'a> {
    pub(super) source: (BorrowedFd<'a>, &'a mut Ready),
    pub(super) sink: (BorrowedFd<'a>, &'a mut Ready),
    /// Which way this is, and the requests, if they are told apart.
    pub(super) requests: Option<(Way, &'a mut RequestTracking)>,
    /// How far the request under way and the last reply have come, if they are told apart.
    pub(super) progress: RequestProgress,
    pub(super) now: Uptime,
}

impl Endpoints<'_> {
    /// How far may be received.
    pub(super) fn limit(&self) -> ReceiveLimit {
        let requests = self.requests.as_ref();
        requests.map_or_else(ReceiveLimit::default, |(way, requests)| {
            requests.limit(*way)
        })
    }

    /// This number of bytes was received: these, if they have passed through memory.
    pub(super) fn received(&mut self, number: usize, bytes: Option<&[u8]>) {
        if let Some((way, requests)) = &mut self.requests {
            requests.received(*way, number, bytes);
        }
    }
}

/// One direction. While nothing comes, it has no buffer and no pipe; while its sink is slow, at most one
/// buffer or one pipe, and receives nothing more.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) switch: Switch,
    /// What was received and not sent: a slow sink has not taken it, or it may not pass yet.
    pub(super) rest: Option<Rest>,
    pub(super) pipe: Option<Pipe>,
    /// Why the direction has ended; `None` before.
    pub(super) end: Option<End>,
    /// Bytes of [`Self::preface`] that were not sent yet.
    pub(super) preface: u32,
    /// The bytes of it that the source has said; those before are a header of our own.
    pub(super) repeated: u32,
    /// Where each operation is written down, if the connection is to outlive the process.
    pub(super) flow: Option<Flow>,
    /// Whether the kernel has reported to an earlier process that the source is broken. Then a receive finds
    /// an end after the rest, which is none.
    pub(super) was_broken: bool,
}

impl Direction {
    /// Nothing was carried yet. `is_counted`: the kernel counts the bytes of both sockets.
    pub(super) fn new(flow: Option<Flow>, is_counted: bool) -> Self {
        Self {
            switch: match flow {
                Some(_) if !is_counted => Switch::by_pipe(),
                _ => Switch::new(),
            },
            rest: None,
            pipe: None,
            end: None,
            preface: 0,
            repeated: 0,
            flow,
            was_broken: false,
        }
    }

    /// Continues as another process has left it. `repeated`: the bytes of [`Self::preface`] that the source has said.
    pub(super) fn restore(&mut self, left: RestoredFlow, repeated: u64) {
        match left.in_hand {
            InHand::None => {}
            InHand::Buffer(buffer, part) => {
                self.switch.begins_in_memory(part.len());
                self.rest = Some(Rest { buffer, part });
            }
            InHand::Pipe(pipe, bytes) => {
                self.switch.begins_in_pipe(bytes);
                self.pipe = Some(Pipe::restored(pipe));
            }
        }
        if let Some(flow) = self.flow {
            let prefix = u64::from(flow.prefix_length());
            self.preface = prefix.saturating_sub(flow.given()) as u32;
            self.repeated = repeated as u32;
        }
        self.end = left.finished.then_some(End::Finished);
        self.was_broken = left.source_broken;
    }

    /// Sends a header of our own, and what the source has said to another sink, before what it says next: at most as many
    /// bytes as fit into a buffer. The last `held` of them may not pass yet.
    pub(super) fn preface(&mut self, header: &[u8], said: &[u8], held: usize) {
        let bytes = &[header, said].concat()[..];
        if bytes.is_empty() {
            return;
        }
        self.repeated = said.len() as u32;
        if self.switch.is_by_pipe() && held == 0 && self.preface_by_pipe(bytes) {
            return;
        }
        let Some(mut buffer) = memory::take() else {
            self.end = Some(End::SourceBroken(Errno::NOBUFS));
            return;
        };
        let length = bytes.len().min(BUFFER);
        buffer[..length].copy_from_slice(&bytes[..length]);
        if let Some(flow) = self.flow {
            flow.prefix(Place::Buffer(buffer.number()), length as u32);
        }
        self.preface = length as u32;
        self.switch.begins_in_memory(length);
        let part = 0..length;
        self.rest = Some(Rest { buffer, part });
    }

    /// Carries what can be carried now, at most [`TURN`]. Returns the number of bytes of the source that were
    /// sent, and whether there is more to be done at once. `back` is the end of the other direction.
    ///
    /// If the sink is broken, discards what the source sends, while the other direction continues: the source
    /// may not read before it has sent everything.
    pub(super) fn turn(
        &mut self,
        endpoints: &mut Endpoints<'_>,
        back: Option<End>,
    ) -> (usize, bool) {
        let is_to_discard = |end| matches!(end, Some(End::SinkBroken(_))) && back.is_none();
        if is_to_discard(self.end) {
            return (0, self.discard(endpoints));
        }
        let mut sent = 0;
        while self.end.is_none() && sent < TURN {
            match self.step(endpoints, back) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) => sent += bytes,
                Poll::Ready(Err(end)) => self.end = Some(end),
            }
            if let (Next::Finish, Some(errno)) = (self.switch.next(), source_error(back)) {
                self.end = Some(End::SourceBroken(errno));
            }
        }
        let preface = sent.min(self.preface as usize);
        self.preface -= preface as u32;
        let has_more = match self.end {
            None => sent >= TURN,
            end => is_to_discard(end),
        };
        (sent - preface, has_more)
    }

    /// Receives and discards up to [`TURN`]. Returns whether there may be more at once.
    fn discard(&mut self, endpoints: &mut Endpoints<'_>) -> bool {
        self.loses_count();
        let Some(mut buffer) = memory::take() else {
            return false;
        };
        let (source, ready) = &mut endpoints.source;
        let mut total = 0;
        while total < TURN {
            match ready.receive(|| receive_into(*source, &mut buffer, ReceiveLimit::default())) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => total += bytes,
                // The other direction finds a broken source.
                _ => break,
            }
        }
        memory::give_back(buffer);
        total >= TURN
    }

    /// More is received than written down from now on. What is written down of a send to a broken sink stays.
    pub(super) fn loses_count(&self) {
        if let Some(flow) = self.flow {
            flow.inexact();
        }
    }

    /// Writes down that the source is broken, if the next receive may find that: the kernel reports it once.
    /// With TCP it can be found out later whether it has.
    pub(super) fn expects_break(&self, source: &Ready) {
        if source.is_broken && !source.is_counted() {
            if let Some(flow) = self.flow {
                flow.breaks();
            }
        }
    }

    /// Takes one step. Returns the number of bytes that were sent.
    fn step(
        &mut self,
        endpoints: &mut Endpoints<'_>,
        back: Option<End>,
    ) -> Poll<Result<usize, End>> {
        match self.switch.next() {
            Next::Receive | Next::Fill if endpoints.limit().is_reached() => self.look(endpoints),
            Next::Send if self.in_passage(endpoints.limit().held()) == 0 => self.look(endpoints),
            Next::Receive => self.receive(endpoints),
            Next::Send => self.send(endpoints),
            Next::Fill => self.fill(endpoints),
            Next::Drain => self.drain(endpoints),
            Next::Finish if self.was_broken => {
                Poll::Ready(Err(End::SourceBroken(Errno::CONNRESET)))
            }
            // Both sockets are closed next, which ends both sides, as nothing is left to be received. It
            // does not if there are copies of the sockets.
            Next::Finish if back == Some(End::Finished) && self.flow.is_none() => {
                ending::close_orderly(endpoints.sink.0);
                Poll::Ready(Err(End::Finished))
            }
            Next::Finish => Poll::Ready(Err(self.finish(endpoints.sink.0))),
        }
    }

    /// Ends the sink in order.
    fn finish(&self, sink: BorrowedFd<'_>) -> End {
        // Before it is done: the next process does it again.
        if let Some(flow) = self.flow {
            flow.finish();
        }
        match ending::end_orderly(sink) {
            Ok(()) => End::Finished,
            Err(errno) => End::SinkBroken(errno),
        }
    }

    /// The number of bytes in hand that may pass, if the last `held` of them may not.
    pub(super) fn in_passage(&self, held: usize) -> usize {
        self.switch.in_hand().saturating_sub(held)
    }

    /// The number of bytes in hand that are a header of our own.
    pub(super) fn header_in_hand(&self) -> usize {
        self.preface.saturating_sub(self.repeated) as usize
    }

    /// Whether what is in hand, if anything, is in a buffer.
    pub(super) fn is_in_memory(&self) -> bool {
        self.rest.is_some() || self.switch.in_hand() == 0
    }

    /// Whether it has passed on everything up to the limit, and has not ended.
    pub(super) fn has_passed(&self, limit: &ReceiveLimit) -> bool {
        self.end.is_none() && limit.is_reached() && self.in_passage(limit.held()) == 0
    }

    /// The bytes in hand that may not pass.
    pub(super) fn held(&self, limit: &ReceiveLimit) -> &[u8] {
        match &self.rest {
            Some(Rest { buffer, part }) => {
                let from = part.end.saturating_sub(limit.held()).max(part.start);
                &buffer[from..part.end]
            }
            None => &[],
        }
    }

    /// See [`Switch::carries_bulk`].
    pub(super) fn carries_bulk(&self) -> bool {
        self.switch.carries_bulk()
    }

    /// Whether it has no byte in hand, and has not ended.
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_none() && matches!(self.switch.next(), Next::Receive | Next::Fill)
    }

    /// Ends an empty direction as if its source had ended.
    pub(super) fn close(&mut self, sink: BorrowedFd<'_>) {
        self.end = Some(self.finish(sink));
    }

    /// Receives into the thread's buffer and sends from there. What the sink does not take stays in the
    /// buffer, which is the direction's then.
    fn receive(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let limit = endpoints.limit();
        let (source, ready) = &mut endpoints.source;
        if self.flow.is_some() {
            ready.look_for_urgent(*source);
        }
        if !ready.is_readable {
            self.switch.waits_for_source();
            return Poll::Pending;
        }
        let Some(mut buffer) = memory::take() else {
            // There is one for each direction of each connection that may be open.
            return Poll::Ready(Err(End::SourceBroken(Errno::NOBUFS)));
        };
        self.expects_break(ready);
        let (flow, place) = (self.flow, Place::Buffer(buffer.number()));
        if ready.is_urgent {
            // Before it is done: a receive leaves the urgent byte out, and the kernel counts it.
            self.loses_count();
        }
        let received = ready
            .receive(|| record::receive(flow, place, || receive_into(*source, &mut buffer, limit)));
        let bytes = match received {
            Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
            nothing => {
                memory::give_back(buffer);
                match nothing {
                    Poll::Pending => self.switch.waits_for_source(),
                    Poll::Ready(Ok(_)) => self.switch.received(0, false),
                    Poll::Ready(Err(_)) => {}
                }
                return nothing.map_err(End::SourceBroken);
            }
        };
        self.switch.received(bytes, bytes == BUFFER);
        endpoints.received(bytes, Some(&buffer[..bytes]));
        let part = 0..bytes;
        self.rest = Some(Rest { buffer, part });
        match self.send(endpoints) {
            Poll::Pending => Poll::Ready(Ok(0)),
            sent => sent,
        }
    }

    /// Sends what was received, or what is left of it.
    fn send(&mut self, endpoints: &mut Endpoints<'_>) -> Poll<Result<usize, End>> {
        let Some(mut rest) = self.rest.take() else {
            unreachable!("the switch knows of bytes that are not there");
        };
        let end = rest.part.end.saturating_sub(endpoints.limit().held());
        let (sink, ready) = &mut endpoints.sink;
        let bytes = &rest.buffer[rest.part.start..end];
        let flow = self.flow;
        let sent = ready.send(*sink, || {
            record::send(flow, || send(*sink, bytes, SendFlags::NOSIGNAL))
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

fn receive_into(
    source: BorrowedFd<'_>,
    buffer: &mut Buffer,
    limit: ReceiveLimit,
) -> Result<Receipt, Errno> {
    let length = limit.of(BUFFER);
    let (bytes, _) = recv(source, &mut buffer[..length], RecvFlags::empty())?;
    let full = bytes == length && !limit.is_all(bytes);
    Ok(Receipt { bytes, full })
}

/// The error of a source to which the other direction could not send.
///
/// The kernel reports a reset once. If a send got the report, receives get the rest and then what looks like
/// the end. After `PIPE` it is one: that is what a send gets if the reset came behind the end (`tcp_reset`,
/// net/ipv4/tcp_input.c).
fn source_error(back: Option<End>) -> Option<Errno> {
    match back {
        Some(End::SinkBroken(errno)) if errno != Errno::PIPE => Some(errno),
        _ => None,
    }
}
