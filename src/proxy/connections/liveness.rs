//! Whether a peer that does not answer is gone.
//!
//! The kernel probes only connections that have nothing to send (`tcp_keepalive_timer`,
//! `net/ipv4/tcp_timer.c`). With bytes in flight it gives up after `tcp_retries2`, about fifteen minutes,
//! and a lock would have to wait for that. `TCP_USER_TIMEOUT` also ends connections whose peer is alive and
//! merely does not read.

use std::time::Duration;

use crate::service::kernel::TcpInfo;

/// Whether the peer was asked and has not answered for `limit`: segments were retransmitted, or its closed
/// window was probed more than once. A peer that is alive answers a probe within one round trip, however
/// long it does not read.
pub fn is_gone(info: &TcpInfo, limit: Duration) -> bool {
    let asked = info.retransmits >= 1 && info.unacked > 0 || info.probes >= 2;
    asked && Duration::from_millis(info.last_ack_recv_ms.into()) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_peer_is_gone_when_it_was_asked_and_was_silent_for_the_whole_time() {
        for (retransmits, last_ack_recv_ms, gone) in
            [(7, 60_000, true), (7, 59_999, false), (0, 60_000, false)]
        {
            let silent = TcpInfo {
                unacked: 3,
                retransmits,
                last_ack_recv_ms,
                ..TcpInfo::default()
            };
            assert_eq!(is_gone(&silent, LIMIT), gone);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_but_answers_probes_is_not() {
        // The kernel probes every 120 s in the end, so that the last answer is up to so old.
        let slow = TcpInfo {
            probes: 1,
            last_ack_recv_ms: 119_000,
            ..TcpInfo::default()
        };
        assert!(!is_gone(&slow, LIMIT));
        assert!(is_gone(&TcpInfo { probes: 2, ..slow }, LIMIT));
    }

    #[test]
    fn an_idle_peer_is_not() {
        let idle = TcpInfo {
            last_ack_recv_ms: u32::MAX,
            ..TcpInfo::default()
        };
        assert!(!is_gone(&idle, LIMIT));
    }
}
