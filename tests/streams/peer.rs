//! One end of a connection does what its plan says, and checks every byte that it receives.

use std::cell::Cell;
use std::io::ErrorKind;

use tokio::sync::{Barrier, Notify};

use crate::plan::{Ending, Side, Writes};
use crate::socket::Socket;

/// Something that the other end, or another part of this one, waits for.
#[derive(Debug, Default)]
pub struct Event {
    happened: Cell<bool>,
    told: Notify,
}

impl Event {
    pub fn tell(&self) {
        self.happened.set(true);
        self.told.notify_waiters();
    }

    fn take_back(&self) {
        self.happened.set(false);
    }

    pub async fn wait(&self) {
        while !self.happened.get() {
            self.told.notified().await;
        }
    }
}

/// What the two ends of a connection know of each other beside it.
#[derive(Debug)]
pub struct Between {
    /// Both ends exist.
    pub paired: Event,
    /// The client, or the upstream, cannot write now, or has written everything.
    client_full: Event,
    upstream_full: Event,
    closing: Barrier,
}

impl Between {
    pub fn new() -> Self {
        Self {
            paired: Event::default(),
            client_full: Event::default(),
            upstream_full: Event::default(),
            closing: Barrier::new(2),
        }
    }
}

/// How it ended for one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It received the orderly end of the other's bytes.
    Finished,
    /// An error reported that the connection is broken.
    Broken(ErrorKind),
    /// It left by itself before either.
    Left,
}

/// The report of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes that it wrote.
    pub sent: u64,
    /// Bytes of these that the kernel on the other side had when it left.
    pub delivered: u64,
    /// Bytes that it received; all of them were right.
    pub received: u64,
    pub end: End,
}

/// One end.
pub struct Peer<'a> {
    pub socket: Socket,
    pub side: &'a Side,
    pub other: &'a Side,
    pub is_client: bool,
    pub between: &'a Between,
    /// What it receives before the other's bytes.
    pub header: Vec<u8>,
    pub progress: &'a Progress,
}

/// How far one end has come.
#[derive(Debug, Default)]
pub struct Progress {
    sent: Cell<u64>,
    received: Cell<u64>,
    broken: Cell<Option<ErrorKind>>,
    has_heard: Event,
    has_read: Event,
}

impl Peer<'_> {
    /// Does everything. An error names the byte that was wrong.
    pub async fn talk(self) -> Result<Report, String> {
        if self.side.tiny_window {
            self.socket.has_tiny_buffers();
        }
        let progress = self.progress;
        let end = match self.side.ending {
            Ending::HalfClose => {
                let (end, ()) = tokio::try_join!(self.read(u64::MAX), self.write_to_the_end())?;
                end
            }
            Ending::CloseTogether => {
                let read = self.read(self.other.amount);
                tokio::try_join!(read, self.write(self.side.amount))?;
                self.between.closing.wait().await;
                End::Left
            }
            Ending::Reset(after) => {
                let write = async {
                    self.write(after).await?;
                    self.may_break().await;
                    Ok::<_, String>(())
                };
                tokio::pin!(write);
                tokio::select! {
                    result = &mut write => result?,
                    result = self.read(u64::MAX) => {
                        result?;
                        write.await?;
                    }
                }
                End::Left
            }
            Ending::HalfCloseThenReset(after) => {
                tokio::try_join!(self.read(after), self.write_to_the_end())?;
                self.may_break().await;
                End::Left
            }
        };
        let sent = progress.sent.get();
        let report = Report {
            sent,
            // After an error nothing more is known of this end.
            delivered: sent.saturating_sub(self.socket.on_the_way()),
            received: progress.received.get(),
            end,
        };
        self.full().tell();
        match self.side.ending {
            Ending::Reset(_) | Ending::HalfCloseThenReset(_) => self.socket.reset(),
            Ending::HalfClose | Ending::CloseTogether => {}
        }
        Ok(report)
    }

    /// Waits until there is a connection to break: a client that resets before it is accepted is no
    /// client, and an upstream that does is not there yet and is tried again.
    async fn may_break(&self) {
        match self.is_client {
            true => self.between.paired.wait().await,
            false => self.progress.has_heard.wait().await,
        }
    }

    fn full(&self) -> &Event {
        match self.is_client {
            true => &self.between.client_full,
            false => &self.between.upstream_full,
        }
    }

    fn other_is_full(&self) -> &Event {
        match self.is_client {
            true => &self.between.upstream_full,
            false => &self.between.client_full,
        }
    }

    async fn write_to_the_end(&self) -> Result<(), String> {
        self.write(self.side.amount).await?;
        if let Err(error) = self.socket.shutdown_write() {
            self.note(error.kind());
        }
        Ok(())
    }

    /// Writes up to this offset. That the connection broke is noted, no error.
    async fn write(&self, until: u64) -> Result<(), String> {
        if self.side.answers {
            self.progress.has_read.wait().await;
        }
        while self.progress.sent.get() < until {
            let sent = self.progress.sent.get();
            let most = match self.side.writes {
                Writes::Bulk => usize::MAX,
                Writes::Pieces(most) => most,
                Writes::Single => 1,
            };
            let most = most.min(usize::try_from(until - sent).unwrap());
            match self.socket.try_send(self.side.says.at(sent, most)) {
                Ok(count) => self.progress.sent.set(sent + count as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.full().tell();
                    self.socket.writable().await;
                    self.full().take_back();
                    continue;
                }
                Err(error) => {
                    self.note(error.kind());
                    break;
                }
            }
            // Others have a turn, too.
            tokio::task::consume_budget().await;
        }
        self.full().tell();
        Ok(())
    }

    fn note(&self, error: ErrorKind) {
        self.progress.broken.set(Some(error));
    }

    /// Reads until the end, or until so much was received.
    async fn read(&self, until: u64) -> Result<End, String> {
        let result = self.read_all(until).await;
        self.progress.has_heard.tell();
        self.progress.has_read.tell();
        result
    }

    async fn read_all(&self, until: u64) -> Result<End, String> {
        let mut header = &self.header[..];
        let mut stalls = self.side.stalls.iter().peekable();
        let mut buffer = vec![0; self.side.read_size.max(header.len())];
        while self.progress.received.get() < until {
            let received = self.progress.received.get();
            if stalls.next_if(|offset| **offset <= received).is_some() {
                self.other_is_full().wait().await;
                continue;
            }
            let most = match header {
                [] => self.side.read_size,
                header => header.len(),
            };
            let most = most.min(usize::try_from(until - received).unwrap_or(usize::MAX));
            let count = match self.socket.receive(&mut buffer[..most]).await {
                Ok(0) => {
                    // The kernel reports a reset once; perhaps to the writer.
                    return Ok(self
                        .progress
                        .broken
                        .get()
                        .map_or(End::Finished, End::Broken));
                }
                Ok(count) => count,
                Err(error) => return Ok(End::Broken(error.kind())),
            };
            self.progress.has_heard.tell();
            if !header.is_empty() {
                let Some(rest) = header.strip_prefix(&buffer[..count]) else {
                    return Err(format!(
                        "{:?} came instead of the header {:?}",
                        String::from_utf8_lossy(&buffer[..count]),
                        String::from_utf8_lossy(header)
                    ));
                };
                header = rest;
                continue;
            }
            if let Some(at) = self.other.says.first_error(received, &buffer[..count]) {
                let wrong = &buffer[usize::try_from(at - received).unwrap()..count];
                return Err(format!(
                    "byte {at} of what the {} said is wrong: {:02x?} came instead of {:02x?}",
                    if self.is_client { "upstream" } else { "client" },
                    &wrong[..wrong.len().min(16)],
                    self.other.says.at(at, wrong.len().min(16)),
                ));
            }
            self.progress.received.set(received + count as u64);
        }
        Ok(End::Left)
    }
}
