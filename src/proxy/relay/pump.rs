//! One direction of a relayed connection.

use std::cell::RefCell;
use std::io;

use crate::service::stream::Stream;

/// How much is carried at once. One such buffer serves all connections of a thread: none belongs
/// to a connection, unless its receiver is slow.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Why a pump has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpEnd {
    /// The source has said everything, and the sink was told so.
    Finished,
    /// Receiving failed: the source was reset or is gone. Everything that came before was sent.
    SourceBroken(io::ErrorKind),
    /// Sending failed: the sink was reset or is gone.
    SinkBroken(io::ErrorKind),
}

/// Carries bytes from `source` to `sink` until the end; tells `count` how many went.
///
/// While nothing comes, it holds no memory. What a slow sink does not take at once, at most one
/// buffer, is kept until it does, and nothing more is received.
pub async fn pump(source: &Stream, sink: &Stream, count: impl Fn(usize)) -> PumpEnd {
    loop {
        if let Err(error) = source.readable().await {
            return PumpEnd::SourceBroken(error.kind());
        }
        match carry(source, sink) {
            Carried::Nothing => {}
            Carried::All(bytes) => count(bytes),
            Carried::Some(sent, rest) => {
                count(sent);
                if let Err(error) = send_rest(sink, &rest, &count).await {
                    return PumpEnd::SinkBroken(error.kind());
                }
            }
            Carried::End => {
                return match sink.shutdown_write() {
                    Ok(()) => PumpEnd::Finished,
                    Err(error) => PumpEnd::SinkBroken(error.kind()),
                };
            }
            Carried::SourceBroken(kind) => return PumpEnd::SourceBroken(kind),
            Carried::SinkBroken(kind) => return PumpEnd::SinkBroken(kind),
        }
    }
}

enum Carried {
    Nothing,
    All(usize),
    Some(usize, Box<[u8]>),
    End,
    SourceBroken(io::ErrorKind),
    SinkBroken(io::ErrorKind),
}

/// Receives once and sends once, without waiting.
fn carry(source: &Stream, sink: &Stream) -> Carried {
    SCRATCH.with_borrow_mut(|buffer| {
        let received = match source.try_receive(buffer) {
            Ok(0) => return Carried::End,
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Carried::Nothing,
            Err(error) => return Carried::SourceBroken(error.kind()),
        };
        match sink.try_send(&buffer[..received]) {
            Ok(sent) if sent == received => Carried::All(sent),
            Ok(sent) => Carried::Some(sent, buffer[sent..received].into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Carried::Some(0, buffer[..received].into())
            }
            Err(error) => Carried::SinkBroken(error.kind()),
        }
    })
}

async fn send_rest(sink: &Stream, mut rest: &[u8], count: &impl Fn(usize)) -> io::Result<()> {
    while !rest.is_empty() {
        let sent = sink.send(rest).await?;
        count(sent);
        rest = &rest[sent..];
    }
    Ok(())
}
