//! What is said of the kernel's counters, compared with a real socket in every state.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;

use socket2::SockRef;

use super::*;
use crate::service::kernel::tcp_counters;

/// A socket of ours, its peer, and what was really received and sent.
struct SocketPeers {
    ours: TcpStream,
    peer: Option<TcpStream>,
    opened: Opener,
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
    SocketStep::PeerSends,
    SocketStep::PeerReads,
    SocketStep::PeerShuts,
    SocketStep::PeerResets,
    SocketStep::WeReceive,
    SocketStep::WeSend,
    SocketStep::WeShut,
];

impl SocketPeers {
    fn new(opened: Opener) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let active = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (passive, _) = listener.accept().unwrap();
        let (ours, peer) = match opened {
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
            opened,
            received: 0,
            sent: 0,
            shut: false,
        }
    }

    /// Does it, as far as it can be done; what was received by this step is not written down yet.
    fn step(&mut self, step: SocketStep) -> u64 {
        match (step, &mut self.peer) {
            (SocketStep::PeerSends, Some(peer)) => drop(peer.write(b"seventeen letters")),
            (SocketStep::PeerReads, Some(peer)) => drop(peer.read(&mut [0; 5])),
            (SocketStep::PeerShuts, Some(peer)) => drop(peer.shutdown(Shutdown::Write)),
            (SocketStep::PeerResets, peer) => {
                if let Some(peer) = peer.take() {
                    SockRef::from(&peer)
                        .set_linger(Some(std::time::Duration::ZERO))
                        .unwrap();
                }
            }
            (SocketStep::WeReceive, _) => return self.ours.read(&mut [0; 7]).unwrap_or(0) as u64,
            (SocketStep::WeSend, _) => {
                if !self.shut {
                    self.sent += self.ours.write(&[0; 11]).unwrap_or(0) as u64;
                }
            }
            (SocketStep::WeShut, _) => {
                self.shut |= self.ours.shutdown(Shutdown::Write).is_ok();
            }
            (_, None) => {}
        }
        0
    }

    fn check(&mut self, more: u64, story: &[SocketStep]) {
        let counters = tcp_counters(self.ours.as_fd()).unwrap();
        match received(&counters, self.received, self.shut) {
            Total::Exactly(bytes) => {
                assert_eq!(bytes, self.received + more, "{story:?} {counters:?}")
            }
            Total::Unknown => assert_eq!(counters.state, TCP_CLOSE, "{story:?} {counters:?}"),
        }
        self.received += more;
        // Those that are written down are confirmed, or at least not contradicted.
        match received(&counters, self.received, self.shut) {
            Total::Exactly(bytes) => assert_eq!(bytes, self.received, "{story:?} {counters:?}"),
            Total::Unknown => assert_eq!(counters.state, TCP_CLOSE, "{story:?} {counters:?}"),
        }
        match sent(&counters, self.opened) {
            Total::Exactly(bytes) => assert_eq!(bytes, self.sent, "{story:?} {counters:?}"),
            Total::Unknown => assert_eq!(counters.state, TCP_CLOSE, "{story:?} {counters:?}"),
        }
        if self.shut {
            assert!(is_over(&counters), "{story:?} {counters:?}");
        }
        let told = was_told_of_reset(&counters, Total::Exactly(self.received));
        assert!(!told || self.peer.is_none(), "{story:?} {counters:?}");
    }
}

/// Every story of four steps, then receiving and sending: 2 × 2,401 connections.
#[test]
fn the_counters_are_right_in_every_state() {
    for opened in [Opener::Us, Opener::Peer] {
        for number in 0..STEPS.len().pow(4) {
            let digits = (0..4).map(|digit| number / STEPS.len().pow(digit) % STEPS.len());
            let story: Vec<SocketStep> = digits
                .map(|digit| STEPS[digit])
                .chain([
                    SocketStep::WeReceive,
                    SocketStep::WeReceive,
                    SocketStep::WeSend,
                ])
                .collect();
            let mut world = SocketPeers::new(opened);
            for step in &story {
                let more = world.step(*step);
                world.check(more, &story);
            }
        }
    }
}

/// A stream that ends in order, and whose process dies while it receives the last of it, after it has
/// shut down its own side: the state tells neither.
#[test]
fn the_end_is_not_taken_for_a_byte_when_both_sides_have_ended() {
    let mut world = SocketPeers::new(Opener::Us);
    world.step(SocketStep::WeShut);
    world.step(SocketStep::PeerSends);
    world.step(SocketStep::PeerShuts);
    let counters = tcp_counters(world.ours.as_fd()).unwrap();
    assert_eq!(counters.state, TCP_CLOSE);
    let more = world.step(SocketStep::WeReceive);
    let counters = tcp_counters(world.ours.as_fd()).unwrap();
    assert_eq!(received(&counters, 0, true), Total::Exactly(more));
    assert_eq!(received(&counters, more, true), Total::Exactly(more));
}

#[test]
fn what_waits_to_be_sent_is_sent_and_the_end_behind_it_is_not_counted() {
    for opened in [Opener::Us, Opener::Peer] {
        let mut world = SocketPeers::new(opened);
        let mut sent = 0;
        while let Ok(count) = world.ours.write(&[0; 65_536]) {
            sent += count as u64;
        }
        for end in [false, true] {
            if end {
                world.ours.shutdown(Shutdown::Write).unwrap();
            }
            let counters = tcp_counters(world.ours.as_fd()).unwrap();
            assert_eq!(super::sent(&counters, opened), Total::Exactly(sent));
        }
    }
}

/// What waits behind urgent data is not among what can be read, and the urgent byte is never received: of
/// a stream that has some in front of it nothing is said, however much came.
#[test]
fn in_front_of_urgent_data_nothing_is_said() {
    let mut world = SocketPeers::new(Opener::Peer);
    let mut peer = world.peer.take().unwrap();
    let counters = |world: &SocketPeers| tcp_counters(world.ours.as_fd()).unwrap();
    peer.write_all(b"before").unwrap();
    assert_eq!(received(&counters(&world), 0, false), Total::Exactly(0));
    rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    assert_eq!(counters(&world).readable, 6);
    assert_eq!(received(&counters(&world), 0, false), Total::Unknown);
    assert_eq!(world.ours.read(&mut [0; 100]).unwrap(), 6);
    assert_eq!(received(&counters(&world), 6, false), Total::Unknown);
    assert_eq!(world.ours.read(&mut [0; 100]).unwrap(), 6);
    assert_eq!(received(&counters(&world), 12, false), Total::Exactly(13));
}
