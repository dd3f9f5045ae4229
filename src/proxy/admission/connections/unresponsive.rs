//! Whether a peer is gone, and how long a receiver has taken nothing of what waits for it. Pure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::kernel::TcpInfo;

/// Whether the peer was asked and has not answered for `limit`: segments were retransmitted, or its closed
/// window was probed more than once. A peer that is alive answers a probe within one round trip, however
/// long it does not read.
///
/// The kernel probes only connections that have nothing to send (`tcp_keepalive_timer`,
/// `net/ipv4/tcp_timer.c`). With bytes in flight it gives up after `tcp_retries2`, about fifteen minutes,
/// and a lock would have to wait for that. `TCP_USER_TIMEOUT` also ends connections whose peer is alive and
/// merely does not read.
pub(super) fn is_gone(info: &TcpInfo, limit: Duration) -> bool {
    let asked = info.retransmits >= 1 && info.unacked > 0 || info.probes >= 2;
    asked && Duration::from_millis(info.last_ack_recv_ms.into()) >= limit
}

/// What was seen of the receiver of one direction. Only one thread looks.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Bytes that the receiver had taken.
    taken: AtomicU64,
    /// Since when it has taken no more, in microseconds since boot; 0 if nothing waits.
    since: AtomicU64,
}

impl Stall {
    /// How long the receiver has taken nothing, if `written` bytes were written to its socket and `waiting`
    /// of them are still there. Bytes that the proxy holds itself wait only while that socket is full.
    pub(super) fn look(&self, written: u64, waiting: u64, now: Uptime) -> Duration {
        let taken = written.wrapping_sub(waiting);
        let before = self.taken.swap(taken, Relaxed);
        let since = self.since.load(Relaxed);
        if waiting > 0 && since > 0 && before == taken {
            return now.since(Uptime::from_micros(since));
        }
        let since = if waiting > 0 { now.as_micros() } else { 0 };
        self.since.store(since, Relaxed);
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::at;

    #[test]
    fn a_peer_is_gone_when_it_was_asked_and_was_silent_for_the_whole_time() {
        // The kernel probes every 120 s in the end, so that the last answer is up to so old.
        for (unacked, retransmits, probes, last_ack_recv_ms, expected) in [
            (3, 7, 0, 60_000, true),
            (3, 7, 0, 59_999, false),
            (3, 0, 0, 60_000, false),
            (0, 0, 1, 119_000, false),
            (0, 0, 2, 119_000, true),
            (0, 0, 0, u32::MAX, false),
        ] {
            let info = TcpInfo {
                unacked,
                retransmits,
                probes,
                last_ack_recv_ms,
                ..TcpInfo::default()
            };
            let gone = is_gone(&info, Duration::from_secs(60));
            assert_eq!(gone, expected, "{info:?}");
        }
    }

    #[test]
    fn a_receiver_that_takes_nothing_stalls_although_more_is_written() {
        let stall = Stall::default();
        assert_eq!(stall.look(1000, 400, at(1)), Duration::ZERO);
        assert_eq!(stall.look(1001, 401, at(5)), Duration::from_secs(4));
        assert_eq!(stall.look(1001, 401, at(9)), Duration::from_secs(8));
    }

    #[test]
    fn one_that_takes_a_byte_now_and_then_does_not() {
        let stall = Stall::default();
        for second in 1..100 {
            assert_eq!(stall.look(1000 + second, 400, at(second)), Duration::ZERO);
        }
    }

    #[test]
    fn where_nothing_waits_nothing_stalls() {
        let stall = Stall::default();
        for second in 1..100 {
            assert_eq!(stall.look(7, 0, at(second)), Duration::ZERO);
        }
        assert_eq!(stall.look(8, 1, at(200)), Duration::ZERO, "it begins now");
        assert_eq!(stall.look(8, 1, at(201)), Duration::from_secs(1));
    }
}
