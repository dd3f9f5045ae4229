//! Carries bytes between a client and its upstream: the only code that touches payload.
//!
//! Each direction is a `pump`. A half-close passes through, and the other direction
//! goes on. A reset on one side becomes a reset on the other, after what was received before it has
//! been delivered.

mod pump;

use std::io;
use std::time::Duration;

use crate::service::stream::Stream;
use pump::{PumpEnd, pump};

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
/// Not cancel safe, in the sense that a byte which was read but not sent is lost: whoever drops it
/// in the middle must reset both streams.
pub async fn relay(client: &Stream, upstream: &Stream, meter: &impl Meter) -> Ending {
    let (mut up_end, mut down_end) = (None, None);
    let ending = {
        let up = pump(client, upstream, |bytes| meter.received(bytes));
        let down = pump(upstream, client, |bytes| meter.sent(bytes));
        tokio::pin!(up, down);
        loop {
            match (up_end, down_end) {
                // Whoever broke has nothing more to say, and nothing more can be said to it.
                (Some(PumpEnd::SourceBroken(kind)), _)
                | (Some(_), Some(PumpEnd::SinkBroken(kind))) => break Ending::ClientBroken(kind),
                (_, Some(PumpEnd::SourceBroken(kind)))
                | (Some(PumpEnd::SinkBroken(kind)), Some(_)) => break Ending::UpstreamBroken(kind),
                (Some(PumpEnd::Finished), Some(PumpEnd::Finished)) => break Ending::Orderly,
                _ => {}
            }
            // A side that has finished is not received from any more: a reset has to be watched for.
            let client_finished = up_end == Some(PumpEnd::Finished);
            let upstream_finished = down_end == Some(PumpEnd::Finished);
            tokio::select! {
                end = &mut up, if up_end.is_none() => up_end = Some(end),
                end = &mut down, if down_end.is_none() => down_end = Some(end),
                () = client.broken(), if client_finished => {
                    break Ending::ClientBroken(how_broken(client));
                }
                () = upstream.broken(), if upstream_finished => {
                    break Ending::UpstreamBroken(how_broken(upstream));
                }
            }
        }
    };
    match ending {
        Ending::Orderly => {}
        Ending::ClientBroken(_) => deliver_then_reset(upstream).await,
        Ending::UpstreamBroken(_) => deliver_then_reset(client).await,
    }
    ending
}

fn how_broken(stream: &Stream) -> io::ErrorKind {
    stream
        .take_error()
        .map_or(io::ErrorKind::ConnectionReset, |error| error.kind())
}

/// Makes the end of `stream` a reset, once its peer has acknowledged what was sent to it.
///
/// The kernel has no event for the last acknowledgement that epoll(7) would tell, so that it is
/// asked again, ever less often. A peer that has vanished is found by the liveness check.
async fn deliver_then_reset(stream: &Stream) {
    let mut pause = Duration::from_millis(1);
    while stream.tcp_info().is_some_and(|info| !info.closed) && stream.unacknowledged() > 0 {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
            () = stream.broken() => break,
        }
    }
    stream.reset_on_close();
}
