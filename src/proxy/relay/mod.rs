//! Carries bytes between a client and its upstream: the only code that touches payload.
//!
//! Each direction copies small messages and splices bulk, as its `switch` decides; buffers and pipes
//! are the thread's, not the connection's. A half-close passes through, and the other direction goes
//! on. A reset on one side becomes a reset on the other, after what was received before it has been
//! delivered.

mod direction;
mod pipe;
mod switch;

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::service::stream::Stream;
use direction::{Between, Direction, End};
pub use pipe::allow_pipes;

/// Counts what the relay carries.
pub trait Meter {
    /// So many bytes came from the client.
    fn received(&self, bytes: usize);
    /// So many bytes went to the client.
    fn sent(&self, bytes: usize);
}

/// How a relayed connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides had said everything.
    Orderly,
    /// The client's connection broke, in this way.
    ClientBroken(io::ErrorKind),
    /// The upstream's connection broke, in this way.
    UpstreamBroken(io::ErrorKind),
}

/// Relays until both directions have ended. What is left to do then is to drop both streams.
///
/// Not cancel safe, in the sense that a byte which was received but not sent is lost: whoever drops
/// it in the middle must reset both streams.
pub async fn relay<S: AsFd + AsRawFd + Sync>(
    client: &Stream<S>,
    upstream: &Stream<S>,
    meter: &impl Meter,
) -> Ending {
    let ending = carry(client, upstream, meter).await;
    let left = match ending {
        Ending::Orderly => return ending,
        Ending::ClientBroken(_) => upstream,
        Ending::UpstreamBroken(_) => client,
    };
    // Boxed, because a connection that is open has no use for its memory.
    Box::pin(deliver_then_reset(left)).await;
    ending
}

/// Carries until the end of both directions, or a break.
async fn carry<S: AsFd + AsRawFd + Sync>(
    client: &Stream<S>,
    upstream: &Stream<S>,
    meter: &impl Meter,
) -> Ending {
    let (mut up, mut down) = (Direction::new(), Direction::new());
    let (mut client_breaks, mut upstream_breaks) = (None, None);
    poll_fn(|context| {
        let there = Between {
            source: client,
            sink: upstream,
        };
        let back = Between {
            source: upstream,
            sink: client,
        };
        up.poll(there, down.end(), context, |bytes| meter.received(bytes));
        down.poll(back, up.end(), context, |bytes| meter.sent(bytes));
        if let Some(ending) = ending(up.end(), down.end()) {
            return Poll::Ready(ending);
        }
        // A side that has finished is not received from any more: a reset has to be watched for.
        if up.end() == Some(End::Finished) && is_broken(client, &mut client_breaks, context) {
            return Poll::Ready(Ending::ClientBroken(how_broken(client)));
        }
        if down.end() == Some(End::Finished) && is_broken(upstream, &mut upstream_breaks, context) {
            return Poll::Ready(Ending::UpstreamBroken(how_broken(upstream)));
        }
        Poll::Pending
    })
    .await
}

/// How the connection has ended, if it has, given how its directions have.
fn ending(up: Option<End>, down: Option<End>) -> Option<Ending> {
    match (up, down) {
        // Whoever broke has nothing more to say, and nothing more can be said to it.
        (Some(End::SourceBroken(errno)), _) | (Some(_), Some(End::SinkBroken(errno))) => {
            Some(Ending::ClientBroken(errno.kind()))
        }
        (_, Some(End::SourceBroken(errno))) | (Some(End::SinkBroken(errno)), Some(_)) => {
            Some(Ending::UpstreamBroken(errno.kind()))
        }
        (Some(End::Finished), Some(End::Finished)) => Some(Ending::Orderly),
        _ => None,
    }
}

/// A wait for a break, made only when it is needed.
type Breaks<'a> = Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>;

fn is_broken<'a, S: AsFd + AsRawFd + Sync>(
    stream: &'a Stream<S>,
    breaks: &mut Breaks<'a>,
    context: &mut Context<'_>,
) -> bool {
    let breaks = breaks.get_or_insert_with(|| Box::pin(stream.broken()));
    breaks.as_mut().poll(context).is_ready()
}

fn how_broken<S: AsFd + AsRawFd>(stream: &Stream<S>) -> io::ErrorKind {
    stream
        .take_error()
        .map_or(io::ErrorKind::ConnectionReset, |error| error.kind())
}

/// Makes the end of `stream` a reset, once its peer has acknowledged what was sent to it.
///
/// The kernel has no event for the last acknowledgement that epoll(7) would tell, so that it is
/// asked again, ever less often. A peer that has vanished is found by the liveness check.
async fn deliver_then_reset<S: AsFd + AsRawFd>(stream: &Stream<S>) {
    let mut pause = Duration::from_millis(1);
    while stream.tcp_info().is_some_and(|info| !info.closed) && stream.unacknowledged() > 0 {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
            () = stream.broken() => break,
        }
    }
    stream.reset_on_close();
}
