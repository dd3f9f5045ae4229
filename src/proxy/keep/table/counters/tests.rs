//! The meaning of the kernel's counters, compared with a real socket in every state.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

use super::*;
use crate::service::ending;
use crate::service::kernel::tcp_counters;
use crate::service::loopback::pair;
use SocketStep::*;

/// A socket of ours, its peer, and what was really received and sent.
struct SocketPeers {
    ours: TcpStream,
    peer: Option<TcpStream>,
    opener: Opener,
    received: u64,
    sent: u64,
    shut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketStep {
    PeerSends,
    PeerReads,
    PeerShuts,
    PeerResets,
    WeReceive,
    WeSend,
    WeShut,
}

const STEPS: [SocketStep; 7] = [
    PeerSends, PeerReads, PeerShuts, PeerResets, WeReceive, WeSend, WeShut,
];

impl SocketPeers {
    fn new(opener: Opener) -> Self {
        let (active, passive) = pair();
        let (ours, peer) = match opener {
            Opener::Us => (active, passive),
            Opener::Peer => (passive, active),
        };
        for socket in [&ours, &peer] {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        Self {
            ours,
            peer: Some(peer),
            opener,
            received: 0,
            sent: 0,
            shut: false,
        }
    }

    /// Does it, as far as it can be done; what was received by this step is not written down yet.
    fn step(&mut self, step: SocketStep) -> u64 {
        match (step, &mut self.peer) {
            (PeerSends, Some(peer)) => drop(peer.write(b"seventeen letters")),
            (PeerReads, Some(peer)) => drop(peer.read(&mut [0; 5])),
            (PeerShuts, Some(peer)) => drop(peer.shutdown(Shutdown::Write)),
            (PeerResets, peer) => {
                if let Some(peer) = peer.take() {
                    ending::reset_on_close(&peer);
                }
            }
            (WeReceive, _) => return self.ours.read(&mut [0; 7]).unwrap_or(0) as u64,
            (WeSend, _) => {
                if !self.shut {
                    self.sent += self.ours.write(&[0; 11]).unwrap_or(0) as u64;
                }
            }
            (WeShut, _) => {
                self.shut |= self.ours.shutdown(Shutdown::Write).is_ok();
            }
            (_, None) => {}
        }
        0
    }

    fn check(&mut self, more: u64, story: &[SocketStep]) {
        let counters = tcp_counters(self.ours.as_fd()).unwrap();
        let check = |count: Option<u64>, truth: u64| match count {
            Some(bytes) => assert_eq!(bytes, truth, "{story:?} {counters:?}"),
            None => assert_eq!(counters.state, TCP_CLOSE, "{story:?} {counters:?}"),
        };
        let total = self.received + more;
        check(received(&counters, self.received, self.shut), total);
        self.received = total;
        // Those that are written down are confirmed, or at least not contradicted.
        check(received(&counters, self.received, self.shut), total);
        check(sent(&counters, self.opener), self.sent);
        if self.shut {
            assert!(is_over(&counters), "{story:?} {counters:?}");
        }
        let was_reset = reset_was_reported(&counters, Some(self.received));
        assert!(!was_reset || self.peer.is_none(), "{story:?} {counters:?}");
    }
}

/// Every story of four steps, then receiving and sending: 2 × 2,401 connections.
#[test]
fn the_counters_are_right_in_every_state() {
    for opener in [Opener::Us, Opener::Peer] {
        for number in 0..STEPS.len().pow(4) {
            let digits = (0..4).map(|digit| number / STEPS.len().pow(digit) % STEPS.len());
            let steps = digits.map(|digit| STEPS[digit]);
            let last = [WeReceive, WeReceive, WeSend];
            let story: Vec<SocketStep> = steps.chain(last).collect();
            let mut socket = SocketPeers::new(opener);
            for step in &story {
                let more = socket.step(*step);
                socket.check(more, &story);
            }
        }
    }
}

/// A stream that ends in order, and whose process dies while it receives the last of it, after it has
/// shut down its own side: the state shows neither.
#[test]
fn the_end_is_not_taken_for_a_byte_when_both_sides_have_ended() {
    let mut socket = SocketPeers::new(Opener::Us);
    socket.step(WeShut);
    socket.step(PeerSends);
    socket.step(PeerShuts);
    let counters = tcp_counters(socket.ours.as_fd()).unwrap();
    assert_eq!(counters.state, TCP_CLOSE);
    let more = socket.step(WeReceive);
    let counters = tcp_counters(socket.ours.as_fd()).unwrap();
    assert_eq!(received(&counters, 0, true), Some(more));
    assert_eq!(received(&counters, more, true), Some(more));
}

#[test]
fn what_waits_to_be_sent_is_sent_and_the_end_behind_it_is_not_counted() {
    for opener in [Opener::Us, Opener::Peer] {
        let mut socket = SocketPeers::new(opener);
        let mut sent = 0;
        while let Ok(count) = socket.ours.write(&[0; 65_536]) {
            sent += count as u64;
        }
        for end in [false, true] {
            if end {
                socket.ours.shutdown(Shutdown::Write).unwrap();
            }
            let counters = tcp_counters(socket.ours.as_fd()).unwrap();
            assert_eq!(super::sent(&counters, opener), Some(sent));
        }
    }
}

/// What waits behind urgent data is not among what can be read, and the urgent byte is never received:
/// while it is ahead, nothing is known, however much came.
#[test]
fn in_front_of_urgent_data_the_count_is_unknown() {
    let mut socket = SocketPeers::new(Opener::Peer);
    let mut peer = socket.peer.take().unwrap();
    let counters = |socket: &SocketPeers| tcp_counters(socket.ours.as_fd()).unwrap();
    peer.write_all(b"before").unwrap();
    assert_eq!(received(&counters(&socket), 0, false), Some(0));
    rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    assert_eq!(counters(&socket).readable, 6);
    assert_eq!(received(&counters(&socket), 0, false), None);
    assert_eq!(socket.ours.read(&mut [0; 100]).unwrap(), 6);
    assert_eq!(received(&counters(&socket), 6, false), None);
    assert_eq!(socket.ours.read(&mut [0; 100]).unwrap(), 6);
    assert_eq!(received(&counters(&socket), 12, false), Some(13));
}
