//! The relay between real sockets: urgent data, the end, and a reset.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

use proptest::prelude::*;
use rustix::event::PollFlags;
use rustix::net::{SendFlags, send};

use super::*;
use crate::proxy::keep::tests::{Through, first, next};
use crate::proxy::keep::{BUFFER, Way};
use crate::proxy::requests::RequestKind;
use crate::service::clock::Uptime;
use crate::service::kernel::poll_now;
use crate::service::loopback::pair;
use crate::service::poller::Flags;
use crate::service::stream::Family;

/// What happens between two turns of the relay.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The source sends this number of bytes.
    Says(usize),
    /// The source sends a byte of urgent data.
    Urgent,
    /// The sink reads at most this number of bytes.
    Reads(usize),
    /// The relay has a turn.
    Turn,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1usize..200_000).prop_map(Event::Says),
        2 => (1usize..100).prop_map(Event::Says),
        1 => Just(Event::Says(BUFFER)),
        3 => Just(Event::Urgent),
        2 => (1usize..300_000).prop_map(Event::Reads),
        4 => Just(Event::Turn),
    ]
}

/// A relay, and both peers, of which one is the source.
struct World {
    relay: Relay,
    client: TcpStream,
    upstream: TcpStream,
    source: TcpStream,
    sink: TcpStream,
    said: u64,
    read: u64,
    ending: Option<Ending>,
}

/// A byte that differs from its neighbours, and is not urgent.
fn byte(position: u64) -> u8 {
    (position % 251) as u8
}

const URGENT: u8 = 255;

impl World {
    fn new(down: bool) -> Self {
        allow_pipes(100);
        let ((client_peer, client), (upstream_peer, upstream)) = (pair(), pair());
        for socket in [&client_peer, &client, &upstream_peer, &upstream] {
            socket.set_nonblocking(true).unwrap();
        }
        let (source, sink) = match down {
            false => (client_peer, upstream_peer),
            true => (upstream_peer, client_peer),
        };
        let ready = || Ready::new(Family::Tcp);
        Self {
            relay: Relay::new(ready(), ready(), None, None),
            client,
            upstream,
            source,
            sink,
            said: 0,
            read: 0,
            ending: None,
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Says(bytes) => {
                let bytes: Vec<u8> = (self.said..).take(bytes).map(byte).collect();
                self.said += self.source.write(&bytes).unwrap_or(0) as u64;
            }
            // One that is not taken is none.
            Event::Urgent => drop(send(&self.source, &[URGENT], SendFlags::OOB)),
            Event::Reads(bytes) => drop(self.reads(bytes)),
            Event::Turn => self.turn(),
        }
    }

    /// Returns whether the sink reads the end.
    fn reads(&mut self, bytes: usize) -> bool {
        let mut buffer = vec![0; bytes];
        let Ok(bytes) = self.sink.read(&mut buffer) else {
            return false;
        };
        // Of several urgent bytes only the last one is out of the stream.
        for read in buffer[..bytes].iter().filter(|read| **read != URGENT) {
            assert_eq!(*read, byte(self.read), "at {}", self.read);
            self.read += 1;
        }
        bytes == 0
    }

    /// Tells the relay what its sockets are ready for.
    fn report(&mut self) {
        for (ready, socket) in [
            (&mut self.relay.client, &self.client),
            (&mut self.relay.upstream, &self.upstream),
        ] {
            let all = PollFlags::IN | PollFlags::OUT | PollFlags::PRI | PollFlags::RDHUP;
            let flags = poll_now(socket.as_fd(), all).unwrap();
            ready.update(Flags::from_bits_retain(flags.bits().into()));
        }
    }

    fn turn(&mut self) {
        self.report();
        let (client, upstream) = (self.client.as_fd(), self.upstream.as_fd());
        if self.ending.is_some() {
            return;
        }
        let turn = self.relay.turn(client, upstream, Uptime::now());
        if let NextTurn::Ended(ending) = turn.next {
            self.ending = Some(ending);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// With urgent data in any place and a sink of any speed, every other byte comes through before the end.
    #[test]
    fn the_end_comes_behind_everything_that_came_before_it_urgent_data_or_not(
        down in any::<bool>(),
        events in prop::collection::vec(event(), 1..40),
        last in prop::collection::vec(event(), 0..4),
    ) {
        let mut world = World::new(down);
        events.into_iter().for_each(|event| world.happens(event));
        // Without a turn, so that what comes last is there together with the end.
        for event in last {
            if !matches!(event, Event::Turn) {
                world.happens(event);
            }
        }
        world.source.shutdown(Shutdown::Write).unwrap();
        while !world.reads(100_000) {
            world.turn();
        }
        prop_assert_eq!(world.read, world.said);
        world.sink.shutdown(Shutdown::Write).unwrap();
        while world.ending.is_none() {
            world.turn();
        }
        prop_assert_eq!(world.ending, Some(Ending::Orderly));
    }
}

#[test]
fn a_full_buffer_is_bulk_until_a_small_message_comes_alone() {
    let mut world = World::new(true);
    for (bytes, is_bulk) in [(1, false), (BUFFER, true), (1, false)] {
        world.happens(Event::Says(bytes));
        while world.read < world.said {
            world.turn();
            world.reads(BUFFER);
        }
        assert_eq!(world.relay.carries_bulk(), is_bulk, "after {bytes}");
        // Waits for the source.
        world.turn();
    }
}

/// The kernel reports a reset once, and has reported it to the process before.
#[test]
fn what_came_before_a_reset_is_delivered_by_the_next_process_and_then_it_is_a_reset() {
    let keep = first();
    let mut through = Through::new(keep);
    through.client.write_all(b"the rest").unwrap();
    through.client.shutdown(Shutdown::Write).unwrap();
    through.slot.flow(Way::Up).breaks();
    let (_, mut found) = next(keep);
    let restored = found.connections.remove(0);
    let (upstream, flows) = restored.stage.connected();
    for socket in [&restored.client, &upstream] {
        rustix::io::ioctl_fionbio(socket, true).unwrap();
    }
    let mut ready = Ready::new(Family::Other);
    ready.update(Flags::IN | Flags::OUT | Flags::RDHUP);
    let mut relay = Relay::restored(ready, ready, restored.slot, flows, None);
    let next = relay
        .turn(restored.client.as_fd(), upstream.as_fd(), Uptime::now())
        .next;
    assert!(
        matches!(next, NextTurn::Ended(Ending::ClientBroken(_))),
        "{next:?}"
    );
    let mut came = [0; 8];
    through.upstream.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"the rest");
}

/// A fresh upstream that ends at once has got nothing of the client, whether a header of our own is in front or not.
#[test]
fn a_header_in_hand_is_nothing_that_the_upstream_has_got() {
    let post = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    let cases: [(&[u8], NextTurn); 2] = [(b"", NextTurn::Detach), (post, NextTurn::Repeat)];
    for (request, expected) in cases {
        let mut world = World::new(true);
        let ready = || Ready::new(Family::Tcp);
        world.relay = Relay::new(ready(), ready(), None, Some(RequestKind::Http));
        world.relay.announce(b"PROXY UNKNOWN\r\n", request, false);
        world.source.shutdown(Shutdown::Write).unwrap();
        while !poll_now(world.upstream.as_fd(), PollFlags::RDHUP)
            .unwrap()
            .contains(PollFlags::RDHUP)
        {}
        world.report();
        let (client, upstream) = (world.client.as_fd(), world.upstream.as_fd());
        let next = world.relay.turn(client, upstream, Uptime::now()).next;
        assert_eq!(next, expected);
        assert_eq!(world.relay.take_request(), request);
    }
}
