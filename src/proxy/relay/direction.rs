//! One direction of a relayed connection: does what [`Switch`] says.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::task::yield_now;

use super::pipe::Pipe;
use super::switch::{Next, Switch};
use crate::service::stream::{Received, Stream};

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
pub(super) struct Between<'a, S: AsFd + AsRawFd> {
    pub(super) source: &'a Stream<S>,
    pub(super) sink: &'a Stream<S>,
}

impl<S: AsFd + AsRawFd> Clone for Between<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: AsFd + AsRawFd> Copy for Between<'_, S> {}

/// One direction. While nothing comes, it holds no memory and no pipe; while its sink is slow at most
/// one buffer or one pipe, and nothing more is received.
#[derive(Debug)]
pub(super) struct Direction {
    switch: Switch,
    /// What a slow sink has not taken of what was received, with the bytes at its start that it has.
    rest: Option<(Box<[u8]>, usize)>,
    pipe: Option<Pipe>,
    end: Option<End>,
}

impl Direction {
    /// Nothing was carried yet.
    pub(super) fn new() -> Self {
        Self {
            switch: Switch::new(),
            rest: None,
            pipe: None,
            end: None,
        }
    }

    /// Why it has ended; `None` while it goes on.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Carries what can be carried now, at most a turn's worth, and tells `count` of what went. Has
    /// the task woken when it can go on. `back` is how the other direction has ended.
    pub(super) fn poll<S: AsFd + AsRawFd>(
        &mut self,
        between: Between<'_, S>,
        back: Option<End>,
        context: &mut Context<'_>,
        count: impl Fn(usize),
    ) {
        let mut went = 0;
        while self.end.is_none() {
            if went >= TURN {
                // Behind everybody else, those among them of whom the runtime has yet to hear: merely
                // to be woken would mean to be among the next, dozens of times (`event_interval` of
                // tokio's runtime), before it looks.
                let _ = pin!(yield_now()).poll(context);
                break;
            }
            match self.step(between, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) => went += bytes,
                Poll::Ready(Err(end)) => self.end = Some(end),
            }
            if let (Next::Finish, Some(errno)) = (self.switch.next(), broken(back)) {
                self.end = Some(End::SourceBroken(errno));
            }
        }
        if went > 0 {
            count(went);
        }
        if self.end.is_some() {
            // A sink that broke has left some behind.
            (self.pipe, self.rest) = (None, None);
        }
    }

    /// Takes one step; how many bytes went to the sink.
    fn step<S: AsFd + AsRawFd>(
        &mut self,
        between: Between<'_, S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        match self.switch.next() {
            Next::Receive => self.receive(between, context),
            Next::Send => self.send(between.sink, context),
            Next::Fill => self.fill(between.source, context),
            Next::Drain => self.drain(between.sink, context),
            Next::Finish => {
                let shut = rustix::net::shutdown(between.sink, Shutdown::Write);
                Poll::Ready(Err(match shut {
                    Ok(()) => End::Finished,
                    Err(errno) => End::SinkBroken(errno),
                }))
            }
        }
    }

    /// Receives into the thread's buffer and sends from there. What the sink does not take is kept.
    fn receive<S: AsFd + AsRawFd>(
        &mut self,
        Between { source, sink }: Between<'_, S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        SCRATCH.with_borrow_mut(|buffer| {
            let size = buffer.len();
            let received = source.poll_receive(context, |socket| {
                let (bytes, _) = rustix::net::recv(socket, &mut **buffer, RecvFlags::empty())?;
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
            let sent = match poll_send(sink, received, context) {
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
    fn send<S: AsFd + AsRawFd>(
        &mut self,
        sink: &Stream<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        let Some((rest, taken)) = &mut self.rest else {
            unreachable!("the switch knows of bytes that are not there");
        };
        let sent = ready!(poll_send(sink, &rest[*taken..], context))?;
        *taken += sent;
        if self.switch.gave(sent) == 0 {
            self.rest = None;
        }
        Poll::Ready(Ok(sent))
    }

    fn fill<S: AsFd + AsRawFd>(
        &mut self,
        source: &Stream<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        let Some(pipe) = self.pipe.take().or_else(Pipe::take) else {
            self.switch.no_pipe();
            return Poll::Ready(Ok(0));
        };
        let filled = source.poll_receive(context, |socket| {
            let bytes = match pipe.fill(socket) {
                // Splicing stops in front of urgent data and does not say so.
                Err(Errno::AGAIN) if source.is_exceptional() => return Err(Errno::INVAL),
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

    fn drain<S: AsFd + AsRawFd>(
        &mut self,
        sink: &Stream<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        let Some(pipe) = &self.pipe else {
            unreachable!("the switch knows of a pipe that is not there");
        };
        let held = self.switch.in_pipe();
        let drained = ready!(sink.poll_send(context, |socket| pipe.drain(socket, held)));
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

fn poll_send<S: AsFd + AsRawFd>(
    sink: &Stream<S>,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Poll<Result<usize, End>> {
    sink.poll_send(context, |socket| {
        rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
    })
    .map_err(End::SinkBroken)
}
