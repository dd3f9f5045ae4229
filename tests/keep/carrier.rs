//! The bytes of the relay, by buffer or by pipe, each operation written down before it is done.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use disnix_proxy_example::proxy::keep::account::Place;
use disnix_proxy_example::proxy::keep::{self, Buffer, InHand, Keep, ParkedPipe, Slot, Way};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

pub struct Connection {
    pub slot: Slot,
    pub client: OwnedFd,
    pub upstream: Option<OwnedFd>,
    pub connected: bool,
    pub ways: [Direction; 2],
}

pub struct Direction {
    pub in_hand: InHand,
    /// The source has ended.
    pub ended: bool,
    pub finished: bool,
    pub broken: bool,
    /// The next bytes go through a pipe.
    pub bulk: bool,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            in_hand: InHand::None,
            ended: false,
            finished: false,
            broken: false,
            bulk: false,
        }
    }
}

/// The connection is over.
pub struct Over;

pub struct Carrier {
    keep: Keep,
    always_by_pipe: bool,
    scratch: Option<Buffer>,
    spare: Option<ParkedPipe>,
}

impl Carrier {
    pub fn new(keep: Keep, always_by_pipe: bool) -> Self {
        Self {
            keep,
            always_by_pipe,
            scratch: None,
            spare: None,
        }
    }

    pub fn carry(&mut self, connection: &mut Connection, way: Way) -> Result<(), Over> {
        let Some(upstream) = &connection.upstream else {
            return Ok(());
        };
        let (source, sink) = match way {
            Way::Up => (connection.client.as_fd(), upstream.as_fd()),
            Way::Down => (upstream.as_fd(), connection.client.as_fd()),
        };
        let flow = connection.slot.flow(way);
        let direction = &mut connection.ways[way as usize];
        for _ in 0..16 {
            if direction.finished {
                return Ok(());
            }
            if !matches!(direction.in_hand, InHand::None) {
                flow.sending();
                let sent = give(&direction.in_hand, sink);
                match sent {
                    Ok(bytes) => flow.sent(bytes),
                    Err(Errno::AGAIN | Errno::INTR) => {
                        flow.sent(0);
                        return Ok(());
                    }
                    Err(_) => return Err(Over),
                }
                self.take_away(&mut direction.in_hand, sent.unwrap_or(0));
                continue;
            }
            if direction.broken {
                return Err(Over);
            }
            if direction.ended {
                flow.finish();
                let _ = shutdown(sink, Shutdown::Write);
                direction.finished = true;
                return Ok(());
            }
            let by_pipe = direction.bulk || self.always_by_pipe;
            match self.receive(flow, source, by_pipe) {
                Ok(in_hand) => {
                    direction.ended = matches!(in_hand, InHand::None);
                    direction.bulk = match &in_hand {
                        InHand::Buffer(_, range) => range.len() == keep::BUFFER,
                        InHand::Pipe(_, bytes) => *bytes > 8192,
                        InHand::None => false,
                    };
                    direction.in_hand = in_hand;
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    flow.received(0);
                    return Ok(());
                }
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        flow: keep::Flow,
        source: BorrowedFd<'_>,
        by_pipe: bool,
    ) -> Result<InHand, Errno> {
        if by_pipe {
            let pipe = match self.spare.take() {
                Some(pipe) => pipe,
                None => {
                    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                    self.keep.pipe(read, write).ok_or(Errno::NFILE)?
                }
            };
            flow.receiving(Place::Pipe(pipe.number));
            let how = SpliceFlags::NONBLOCK;
            let spliced = splice(source, None, &pipe.write, None, keep::BUFFER, how);
            return match spliced {
                Ok(bytes) if bytes > 0 => {
                    flow.received(bytes);
                    Ok(InHand::Pipe(pipe, bytes))
                }
                spliced => {
                    self.spare = Some(pipe);
                    spliced.map(|_| {
                        flow.received(0);
                        InHand::None
                    })
                }
            };
        }
        let mut buffer = match self.scratch.take() {
            Some(buffer) => buffer,
            None => self.keep.buffers().take().ok_or(Errno::NOMEM)?,
        };
        flow.receiving(Place::Buffer(buffer.number()));
        let received = recv(source, &mut *buffer, RecvFlags::DONTWAIT);
        match received {
            Ok((bytes, _)) if bytes > 0 => {
                flow.received(bytes);
                Ok(InHand::Buffer(buffer, 0..bytes))
            }
            received => {
                self.scratch = Some(buffer);
                received.map(|_| {
                    flow.received(0);
                    InHand::None
                })
            }
        }
    }

    /// Takes `bytes` out of the hand.
    fn take_away(&mut self, in_hand: &mut InHand, bytes: usize) {
        match std::mem::replace(in_hand, InHand::None) {
            InHand::Buffer(buffer, range) if range.len() == bytes => self.scratch = Some(buffer),
            InHand::Buffer(buffer, range) => {
                *in_hand = InHand::Buffer(buffer, range.start + bytes..range.end);
            }
            InHand::Pipe(pipe, held) if held == bytes => self.spare = Some(pipe),
            InHand::Pipe(pipe, held) => *in_hand = InHand::Pipe(pipe, held - bytes),
            InHand::None => {}
        }
    }
}

fn give(in_hand: &InHand, sink: BorrowedFd<'_>) -> Result<usize, Errno> {
    match in_hand {
        InHand::Buffer(buffer, range) => {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            send(sink, &buffer[range.clone()], flags)
        }
        InHand::Pipe(pipe, bytes) => {
            let how = SpliceFlags::NONBLOCK;
            splice(&pipe.read, None, sink, None, *bytes, how)
        }
        InHand::None => Ok(0),
    }
}
