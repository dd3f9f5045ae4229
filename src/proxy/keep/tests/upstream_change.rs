//! Clients that change their upstream, in processes that are killed at every moment.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{read, write};

use super::*;
use crate::service::ending;

/// What kind of sockets a connection has. If the kernel does not count the bytes of one, all go through a pipe.
#[derive(Clone, Copy, Debug)]
struct Families {
    client: Domain,
    upstream: Domain,
}

const ALL: [Families; 4] = [
    families(Domain::IPV4, Domain::IPV4),
    families(Domain::IPV4, Domain::UNIX),
    families(Domain::UNIX, Domain::IPV4),
    families(Domain::UNIX, Domain::UNIX),
];

const fn families(client: Domain, upstream: Domain) -> Families {
    Families { client, upstream }
}

/// Our end of a new connection, and the peer's.
pub(super) fn ends(domain: Domain) -> [OwnedFd; 2] {
    match domain {
        Domain::UNIX => UnixStream::pair().map(|(one, other)| [one.into(), other.into()]),
        _ => {
            let (peer, accepted) = pair();
            peer.set_nodelay(true).unwrap();
            accepted.set_nodelay(true).unwrap();
            Ok([accepted.into(), peer.into()])
        }
    }
    .unwrap()
}

/// Our end of a new connection to an upstream, and that one's.
pub(super) fn upstream_ends(domain: Domain) -> [OwnedFd; 2] {
    let [accepted, connected] = ends(domain);
    [connected, accepted]
}

/// Where bytes are on their way.
enum Vessel {
    Buffer(Buffer),
    Pipe(ParkedPipe),
}

/// One direction, as it really is. Every byte of a stream is the number of those before it, modulo 256.
#[derive(Debug, Default)]
struct Truth {
    /// Bytes that the source has said, that were received from it, and that its sinks got.
    said: usize,
    received: usize,
    given: usize,
    /// Bytes that its sinks have read.
    read: usize,
}

impl Truth {
    fn part(from: usize, to: usize) -> Vec<u8> {
        (from..to).map(|number| number as u8).collect()
    }

    fn in_hand(&self) -> Vec<u8> {
        Self::part(self.given, self.received)
    }
}

/// Closes what a process had that is dead, so that a test has room for many.
pub(super) fn bury(dead: Keep) {
    for part in dead.core.parts(&dead.core.parking.lots()) {
        // SAFETY: its owner is never dropped, and not used any more.
        unsafe { rustix::io::close(part.as_raw_fd()) };
    }
}

/// A client with one upstream after the other.
struct Serial {
    keep: Keep,
    families: Families,
    slot: Slot,
    /// The client's end, and ours.
    client: OwnedFd,
    accepted: OwnedFd,
    /// Our end of the present upstream, and that one's.
    upstream: Option<[OwnedFd; 2]>,
    up: Truth,
    down: Truth,
    /// Moments until the process is killed.
    left: Cell<usize>,
}

impl Serial {
    fn new(families: Families, moment: usize) -> Self {
        let keep = first();
        let [accepted, client] = ends(families.client);
        let slot = keep.claim().unwrap();
        slot.describe(7, Uptime::now());
        assert!(keep.park_client(slot, accepted.as_fd()));
        Self {
            keep,
            families,
            slot,
            client,
            accepted,
            upstream: None,
            up: Truth::default(),
            down: Truth::default(),
            left: Cell::new(moment),
        }
    }

    /// A moment passes. `None` if the process is killed.
    fn tick(&self) -> Option<()> {
        self.left.set(self.left.get().checked_sub(1)?);
        Some(())
    }

    fn truth(&mut self, way: Way) -> &mut Truth {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// The peer that is the source of a direction says something.
    fn say(&mut self, way: Way, bytes: usize) {
        let said = self.truth(way).said;
        let source = match way {
            Way::Up => &self.client,
            Way::Down => &self.upstream.as_ref().unwrap()[1],
        };
        write(source, &Truth::part(said, said + bytes)).unwrap();
        self.truth(way).said += bytes;
    }

    /// The peer that is the sink of a direction reads all that was given to it.
    fn read(&mut self, way: Way) {
        let Truth {
            given,
            read: mut done,
            ..
        } = *self.truth(way);
        let sink = match way {
            Way::Up => &self.upstream.as_ref().unwrap()[1],
            Way::Down => &self.client,
        };
        while done < given {
            let mut bytes = vec![0; given - done];
            let count = read(sink, &mut bytes).unwrap();
            assert!(count > 0, "an end instead of {} bytes", given - done);
            assert_eq!(bytes[..count], Truth::part(done, done + count));
            done += count;
        }
        self.truth(way).read = done;
    }

    /// Source and sink of a direction.
    fn ours(&self, way: Way) -> [BorrowedFd<'_>; 2] {
        let [client, upstream] = [&self.accepted, &self.upstream.as_ref().unwrap()[0]];
        match way {
            Way::Up => [client.as_fd(), upstream.as_fd()],
            Way::Down => [upstream.as_fd(), client.as_fd()],
        }
    }

    /// Carries all that waits, some bytes at a time.
    fn carry(&mut self, way: Way) -> Option<()> {
        let by_pipe = [self.families.client, self.families.upstream].contains(&Domain::UNIX);
        let mut vessel = match by_pipe {
            true => Vessel::Pipe(pipe(self.keep)),
            false => Vessel::Buffer(self.keep.buffers().take().unwrap()),
        };
        let result = self.carry_in(way, &mut vessel);
        if result.is_none() {
            // It belongs to the next process.
            std::mem::forget(vessel);
        }
        result
    }

    fn carry_in(&mut self, way: Way, vessel: &mut Vessel) -> Option<()> {
        let flow = self.slot.flow(way);
        while self.truth(way).received < self.truth(way).said {
            let [source, _] = self.ours(way);
            let count = match vessel {
                Vessel::Buffer(buffer) => {
                    flow.receiving(Place::Buffer(buffer.number()));
                    self.tick()?;
                    recv(source, &mut buffer[..4], RecvFlags::empty())
                        .unwrap()
                        .0
                }
                Vessel::Pipe(pipe) => {
                    flow.receiving(Place::Pipe(pipe.number));
                    self.tick()?;
                    let how = SpliceFlags::empty();
                    splice(source, None, &pipe.write, None, 4, how).unwrap()
                }
            };
            self.truth(way).received += count;
            self.tick()?;
            flow.received(count);
            self.tick()?;
            self.give(way, vessel)?;
        }
        Some(())
    }

    /// Gives the sink what is in hand, in two parts.
    fn give(&mut self, way: Way, vessel: &Vessel) -> Option<()> {
        let flow = self.slot.flow(way);
        let all = self.truth(way).in_hand().len();
        let mut done = 0;
        while done < all {
            flow.sending();
            self.tick()?;
            let [_, sink] = self.ours(way);
            let part = done..(done + 3).min(all);
            let count = match vessel {
                Vessel::Buffer(buffer) => send(sink, &buffer[part], SendFlags::empty()).unwrap(),
                Vessel::Pipe(pipe) => {
                    let how = SpliceFlags::empty();
                    splice(&pipe.read, None, sink, None, part.len(), how).unwrap()
                }
            };
            done += count;
            self.truth(way).given += count;
            self.tick()?;
            flow.sent(count);
            self.tick()?;
        }
        Some(())
    }

    /// The client gets another upstream.
    fn attach(&mut self) -> Option<()> {
        self.slot.begin_anew(self.accepted.as_fd()).unwrap();
        self.tick()?;
        let next = self.upstream.insert(upstream_ends(self.families.upstream));
        let before = self.slot.state();
        assert!(
            self.keep
                .park(self.slot, self.accepted.as_fd(), next[0].as_fd())
        );
        let after = self.slot.state();
        // The message is sent first.
        self.slot.set_state(before);
        self.tick()?;
        self.slot.set_state(after);
        self.tick()
    }

    /// The client stays without an upstream.
    fn detach(&mut self) -> Option<()> {
        self.keep.detach(self.slot);
        self.tick()?;
        ending::end_both_ways(&self.upstream.as_ref().unwrap()[0]);
        self.tick()?;
        self.part();
        self.tick()
    }

    /// The upstream has got everything, and its end in order. It is closed.
    fn part(&mut self) {
        self.read(Way::Up);
        let [_, theirs] = self.upstream.take().unwrap();
        assert_eq!(read(&theirs, &mut [0; 9]), Ok(0), "{:?}", self.families);
    }

    /// A request and its reply. The client's next request waits already when the upstream is left.
    fn round(&mut self, number: usize) -> Option<()> {
        self.slot.set_requests([number as u64, 1, 2]);
        self.carry(Way::Up)?;
        self.say(Way::Down, 7 + number);
        self.carry(Way::Down)?;
        self.say(Way::Up, 4 + number);
        self.tick()
    }

    fn live(&mut self) -> Option<()> {
        self.say(Way::Up, 4);
        for number in 1..=3 {
            self.attach()?;
            self.round(number)?;
            self.detach()?;
        }
        Some(())
    }

    /// The process is dead. The next one finds the client exactly where it was.
    fn restore(&mut self, story: &str) {
        self.left.set(usize::MAX);
        let was_connected = self.slot.phase() == Phase::Connected;
        let requests = self.slot.requests();
        let (keep, mut found) = next(self.keep);
        bury(self.keep);
        assert_eq!(
            (found.connections.len(), found.lost.len()),
            (1, 0),
            "{story}"
        );
        let restored = found.connections.remove(0);
        (self.keep, self.slot, self.accepted) = (keep, restored.slot, restored.client);
        assert_eq!((self.slot.id(), self.slot.requests()), (7, requests));
        let carried = (self.up.given as u64, self.down.given as u64);
        assert_eq!(self.slot.carried(), carried, "{story}");
        match restored.stage {
            Stage::Connected { upstream, flows } => {
                assert!(was_connected, "{story}");
                self.upstream.as_mut().unwrap()[0] = upstream;
                for (way, flow) in Way::BOTH.into_iter().zip(flows) {
                    assert!(!flow.finished && !flow.source_broken, "{story}");
                    self.take(way, flow.in_hand);
                }
            }
            Stage::Accepted => {
                assert!(!was_connected, "{story}");
                assert!(self.up.in_hand().is_empty() && self.down.in_hand().is_empty());
                // It had been parked with one that was not used, or was not told yet that it is left.
                if self.upstream.is_some() && self.up.read < self.up.given {
                    self.part();
                }
                self.upstream = None;
            }
            _ => panic!("{story}"),
        }
    }

    /// Gives the sink what the process before had in hand.
    fn take(&mut self, way: Way, in_hand: InHand) {
        let wanted = self.truth(way).in_hand();
        let (bytes, vessel) = match in_hand {
            InHand::None => (Vec::new(), None),
            InHand::Buffer(mut buffer, part) => {
                let bytes = buffer[part.clone()].to_vec();
                buffer.copy_within(part, 0);
                (bytes, Some(Vessel::Buffer(buffer)))
            }
            InHand::Pipe(pipe, length) => (wanted[..length].to_vec(), Some(Vessel::Pipe(pipe))),
        };
        assert_eq!(bytes, wanted, "{way:?}");
        if let Some(vessel) = vessel {
            self.give(way, &vessel).unwrap();
        }
    }

    /// What is left is carried, the client gets another upstream, and another process in the middle of that.
    fn continue_and_check(&mut self, story: &str) {
        if self.upstream.is_some() {
            self.carry(Way::Up).unwrap();
            self.carry(Way::Down).unwrap();
            self.detach().unwrap();
        }
        self.attach().unwrap();
        self.say(Way::Up, 9);
        self.carry(Way::Up).unwrap();
        self.say(Way::Down, 9);
        // Killed when four bytes of the nine were received, and three sent.
        self.left.set(5);
        assert!(self.carry(Way::Down).is_none());
        self.restore(story);
        self.carry(Way::Down).unwrap();
        self.read(Way::Down);
        self.detach().unwrap();
    }
}

#[test]
fn whenever_the_process_is_killed_a_client_that_changes_its_upstream_is_where_it_was() {
    for families in ALL {
        for moment in 0.. {
            let story = format!("{families:?}, moment {moment}");
            let mut serial = Serial::new(families, moment);
            let is_over = serial.live().is_some();
            serial.restore(&story);
            serial.continue_and_check(&story);
            if is_over {
                assert!(moment > 80, "{moment}");
                break;
            }
        }
    }
}
