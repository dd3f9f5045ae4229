//! Whether a peer that does not answer is gone.
//!
//! The kernel's keepalive probes only connections that have nothing to send (`tcp_keepalive_timer`,
//! `net/ipv4/tcp_timer.c`); one with bytes in flight it gives up after `tcp_retries2`, about
//! fifteen minutes. An upgrade would have to wait for that. `TCP_USER_TIMEOUT` would end it sooner,
//! but also connections whose peer is well and merely does not read. So we look ourselves.

use std::time::Duration;

use crate::service::kernel::TcpInfo;

/// Whether the peer has been silent for `limit` although it was asked: segments were sent again, or
/// its closed window was probed, and no acknowledgement came.
///
/// A peer that is well answers a probe in one round trip, however long it does not read, so that no
/// more than one is ever unanswered.
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
        let silent = TcpInfo {
            unacked: 3,
            retransmits: 7,
            last_ack_recv_ms: 60_000,
            ..TcpInfo::default()
        };
        assert!(is_gone(&silent, LIMIT));
        assert!(!is_gone(
            &TcpInfo {
                last_ack_recv_ms: 59_999,
                ..silent
            },
            LIMIT
        ));
        assert!(!is_gone(
            &TcpInfo {
                retransmits: 0,
                ..silent
            },
            LIMIT
        ));
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
