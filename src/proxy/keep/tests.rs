//! Processes that follow each other, simulated in this one: what one leaves, the next one finds.

mod detached;
mod garbage;
mod held;
mod recycling;
mod reported_reset;
mod unparked;
mod upstream_change;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvFlags, SendFlags, getpeername, recv, send};
use rustix::pipe::{SpliceFlags, splice};
use socket2::{Domain, Socket, Type};

use super::account::{Place, Unclear};
use super::restoring::{Restoration, cookie};
use super::start::{adopt, restore};
use super::store::{self, Parts, StoreContent};
use super::*;
use crate::service::clock::Uptime;
use crate::service::loopback::pair;

fn options() -> KeepOptions<'static> {
    KeepOptions {
        connections: 4096,
        buffers: 64,
        listeners: Vec::new(),
        is_heir: false,
    }
}

fn keep_of(parts: Parts) -> Keep {
    let mut core = adopt(parts, &options()).unwrap();
    // So that a few connections are several messages.
    core.parking.budget.message = 6;
    core.leak()
}

pub(in crate::proxy) fn first() -> Keep {
    keep_of(Parts::new(&options()).unwrap())
}

/// What the next process finds. The one before does nothing any more, as if it were dead.
pub(in crate::proxy) fn next(before: Keep) -> (Keep, Restoration) {
    next_with(before, &options())
}

fn next_with(before: Keep, options: &KeepOptions<'_>) -> (Keep, Restoration) {
    let core = before.core;
    let lots = core.parking.lots();
    let stored = core.parts(&lots).into_iter();
    let copies = stored.map(|fd| fd.try_clone_to_owned().unwrap());
    let StoreContent::Own(parts, _) = store::recognise(copies.collect(), options) else {
        panic!("it is not recognised");
    };
    let keep = keep_of(*parts);
    let restoration = restore(keep, options).unwrap();
    (keep, restoration)
}

/// A connection through a process: the client, its socket, the upstream's socket, the upstream.
pub(in crate::proxy) struct Through {
    pub(in crate::proxy) client: TcpStream,
    sockets: [OwnedFd; 2],
    pub(in crate::proxy) upstream: TcpStream,
    pub(in crate::proxy) slot: Slot,
}

impl Through {
    pub(in crate::proxy) fn new(keep: Keep) -> Self {
        let (client, accepted) = pair();
        let (connected, upstream) = pair();
        let slot = keep.claim().unwrap();
        slot.describe(slot.index().into(), Uptime::now());
        slot.set_text("somewhere");
        assert!(keep.park_client(slot, accepted.as_fd()));
        assert!(keep.park(slot, accepted.as_fd(), connected.as_fd()));
        Self {
            client,
            sockets: [accepted.into(), connected.into()],
            upstream,
            slot,
        }
    }

    /// The client sends, and it is received into a buffer, but not sent.
    fn receive(&mut self, keep: Keep, bytes: &[u8]) -> Buffer {
        let mut buffer = keep.buffers().take().unwrap();
        self.client.write_all(bytes).unwrap();
        let flow = self.slot.flow(Way::Up);
        flow.receiving(Place::Buffer(buffer.number()));
        let (count, _) = recv(&self.sockets[0], &mut *buffer, RecvFlags::empty()).unwrap();
        assert_eq!(count, bytes.len());
        buffer
    }

    /// Two bytes of a buffer are sent, and then the process dies.
    fn send_two(&self, buffer: &Buffer) {
        self.slot.flow(Way::Up).sending();
        send(&self.sockets[1], &buffer[..2], SendFlags::empty()).unwrap();
    }
}

fn pipe(keep: Keep) -> ParkedPipe {
    let (read, write) = rustix::pipe::pipe().unwrap();
    keep.pipe(read, write).unwrap()
}

impl Stage {
    pub(in crate::proxy) fn connected(self) -> (OwnedFd, [RestoredFlow; 2]) {
        match self {
            Self::Connected { upstream, flows } => (upstream, flows),
            _ => panic!("it has no upstream"),
        }
    }
}

fn in_hand(restored: &RestoredConnection) -> Vec<u8> {
    let Stage::Connected { flows, .. } = &restored.stage else {
        panic!("it has no upstream");
    };
    match &flows[0].in_hand {
        InHand::None => Vec::new(),
        InHand::Buffer(buffer, range) => buffer[range.clone()].to_vec(),
        InHand::Pipe(pipe, length) => {
            let mut bytes = vec![0; *length];
            rustix::io::read(&pipe.read, &mut bytes).unwrap();
            bytes
        }
    }
}

#[test]
fn a_connection_is_found_as_it_was_left_again_and_again() {
    let keep = first();
    let mut through = Through::new(keep);
    let buffer = through.receive(keep, b"hello");
    let mut keep = keep;
    for _ in 0..3 {
        let found;
        (keep, found) = next(keep);
        assert_eq!((found.connections.len(), found.lost.len()), (1, 0));
        let connection = &found.connections[0];
        assert_eq!(in_hand(connection), b"hello");
        assert_eq!(connection.slot.text(), "somewhere");
        keep.buffers().leave();
    }
    drop(buffer);
    through.upstream.set_nonblocking(true).unwrap();
    assert!(through.upstream.read(&mut [0]).is_err(), "it goes on");
}

#[test]
fn a_send_that_was_interrupted_is_neither_forgotten_nor_done_twice() {
    let keep = first();
    let mut through = Through::new(keep);
    let buffer = through.receive(keep, b"hello");
    through.slot.flow(Way::Up).received(5);
    through.send_two(&buffer);
    let (_, found) = next(keep);
    assert_eq!(in_hand(&found.connections[0]), b"llo");
    std::mem::forget((buffer, found));
}

#[test]
fn our_own_bytes_in_front_continue_where_they_were() {
    let keep = first();
    let through = Through::new(keep);
    let mut buffer = keep.buffers().take().unwrap();
    buffer[..6].copy_from_slice(b"PROXY ");
    let flow = through.slot.flow(Way::Up);
    flow.prefix(Place::Buffer(buffer.number()), 6);
    through.send_two(&buffer);
    let (_, found) = next(keep);
    assert_eq!(in_hand(&found.connections[0]), b"OXY ");
    let flow = found.connections[0].slot.flow(Way::Up);
    assert_eq!(
        (flow.prefix_length(), flow.taken(), flow.given()),
        (6, 6, 2)
    );
    std::mem::forget((buffer, found));
}

#[test]
fn what_is_in_a_pipe_is_found() {
    let keep = first();
    let mut through = Through::new(keep);
    let pipe = pipe(keep);
    through.client.write_all(b"hello").unwrap();
    let flow = through.slot.flow(Way::Up);
    flow.receiving(Place::Pipe(pipe.number));
    let how = SpliceFlags::empty();
    splice(&through.sockets[0], None, &pipe.write, None, 100, how).unwrap();
    let (_, found) = next(keep);
    assert_eq!(in_hand(&found.connections[0]), b"hello");
}

#[test]
fn what_is_in_a_pipe_and_did_not_come_from_the_source_is_not_believed() {
    let keep = first();
    let through = Through::new(keep);
    let pipe = pipe(keep);
    let flow = through.slot.flow(Way::Up);
    flow.receiving(Place::Pipe(pipe.number));
    rustix::io::write(&pipe.write, b"hello").unwrap();
    let (_, found) = next(keep);
    assert_eq!(found.lost[0].why, Some(Unclear::Contradiction));
}

#[test]
fn what_is_not_counted_is_given_up_and_both_sides_are_reset() {
    let keep = first();
    let (mut client, accepted) = pair();
    let (connected, mut upstream) = UnixStream::pair().unwrap();
    let slot = keep.claim().unwrap();
    keep.park(slot, accepted.as_fd(), connected.as_fd());
    let flow = slot.flow(Way::Down);
    let buffer = keep.buffers().take().unwrap();
    flow.receiving(Place::Buffer(buffer.number()));
    let (_, found) = next(keep);
    assert_eq!(found.lost[0].why, Some(Unclear::Uncounted));
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn of_two_connections_that_claim_one_buffer_neither_continues() {
    let keep = first();
    let mut both = [Through::new(keep), Through::new(keep)];
    let buffers = both
        .each_mut()
        .map(|through| through.receive(keep, b"hello"));
    for through in &both {
        let flow = through.slot.flow(Way::Up);
        flow.receiving(Place::Buffer(buffers[0].number()));
        flow.received(5);
    }
    let (_, found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (0, 2));
}

#[test]
fn every_phase_becomes_what_it_should() {
    let keep = first();
    let all: Vec<Through> = (0..6).map(|_| Through::new(keep)).collect();
    let (_client, accepted) = pair();
    let only_accepted = keep.claim().unwrap();
    keep.park_client(only_accepted, accepted.as_fd());
    let claimed = keep.claim().unwrap();
    all[1].slot.begin_handover(77);
    all[2].slot.complete_handover();
    all[3].slot.set_ending();
    keep.release(all[4].slot);
    for way in Way::BOTH {
        all[5].slot.flow(way).finish();
    }
    let (after, found) = next(keep);
    let found: Vec<_> = found
        .connections
        .iter()
        .map(|restored| match restored.stage {
            Stage::Accepted => (restored.slot.index(), 'a', 0),
            Stage::InHandover => (restored.slot.index(), 'g', restored.slot.note()),
            Stage::HandedOver => (restored.slot.index(), 'h', 0),
            Stage::Held { .. } => (restored.slot.index(), 'r', 0),
            Stage::Connected { .. } => (restored.slot.index(), 'c', 0),
        })
        .collect();
    let at = |index: usize| all[index].slot.index();
    let wanted = [
        (at(1), 'g', 77),
        (at(2), 'h', 0),
        (only_accepted.index(), 'a', 0),
        (at(0), 'c', 0),
    ];
    assert_eq!(found, wanted);
    let mut ended = &all[3].client;
    assert!(ended.read(&mut [0]).is_err(), "its end had begun");
    let mut finished = &all[5].client;
    assert_eq!(finished.read(&mut [0]).unwrap(), 0, "the end is passed on");
    let free: Vec<u32> = (0..4).map(|_| after.claim().unwrap().index()).collect();
    for slot in [&all[3].slot, &all[4].slot, &all[5].slot, &claimed] {
        assert!(free.contains(&slot.index()));
    }
}

#[test]
fn the_last_upstream_counts() {
    let keep = first();
    let mut through = Through::new(keep);
    let (connected, mut upstream) = pair();
    keep.park(through.slot, through.sockets[0].as_fd(), connected.as_fd());
    let (_, found) = next(keep);
    rustix::io::write(upstream_of(found), b"x").unwrap();
    assert_eq!(upstream.read(&mut [0]).unwrap(), 1);
    through.upstream.set_nonblocking(true).unwrap();
    assert!(through.upstream.read(&mut [0]).is_err());
}

/// A client that was accepted, and a socket for its upstream, parked before that is connected.
fn ahead(keep: Keep, upstream: impl Into<OwnedFd>) -> (TcpStream, [OwnedFd; 2], Slot) {
    let (client, accepted) = pair();
    let sockets = [accepted.into(), upstream.into()];
    let slot = keep.claim().unwrap();
    slot.set_client(sockets[0].as_fd());
    keep.park_ahead(&[(slot, sockets[0].as_fd(), sockets[1].as_fd())]);
    assert!(slot.is_parked());
    (client, sockets, slot)
}

fn upstream_of(mut found: Restoration) -> OwnedFd {
    assert_eq!(found.connections.len(), 1);
    let (upstream, flows) = found.connections.remove(0).stage.connected();
    let is_open = |flow: &RestoredFlow| !flow.finished && !flow.source_broken;
    assert!(flows.iter().all(is_open));
    upstream
}

fn unconnected(domain: Domain) -> Socket {
    Socket::new(domain, Type::STREAM, None).unwrap()
}

#[test]
fn what_is_parked_before_it_is_connected_is_found_in_either_state() {
    for domain in [Domain::IPV4, Domain::UNIX] {
        let keep = first();
        let (_client, _ours, _slot) = ahead(keep, unconnected(domain));
        let (keep, found) = next(keep);
        assert!(getpeername(upstream_of(found)).is_err());
        upstream_of(next(keep).1);
    }
    let keep = first();
    let (_client, sockets, _slot) = ahead(keep, unconnected(Domain::IPV4));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::connect(&sockets[1], &listener.local_addr().unwrap()).unwrap();
    assert!(getpeername(upstream_of(next(keep).1)).is_ok());
}

#[test]
fn a_client_whose_upstream_could_not_be_connected_is_found_without_it() {
    let keep = first();
    let (_client, sockets, slot) = ahead(keep, unconnected(Domain::IPV4));
    keep.park_client(slot, sockets[0].as_fd());
    let (_, found) = next(keep);
    assert_eq!(found.connections.len(), 1);
    assert!(matches!(found.connections[0].stage, Stage::Accepted));
}

#[test]
fn a_lot_that_is_full_of_ended_connections_is_no_matter() {
    let keep = first();
    let stays = Through::new(keep);
    let through = Through::new(keep);
    let [client, upstream] = through.sockets.each_ref().map(AsFd::as_fd);
    keep.release(through.slot);
    for _ in 0..5000 {
        let slot = keep.claim().unwrap();
        assert!(keep.park_client(slot, client) && keep.park(slot, client, upstream));
        keep.release(slot);
    }
    keep.tidy();
    let parking = &keep.core.parking;
    let (side, lots) = (parking.active(), parking.lots());
    assert_eq!((lots.messages(side), lots.messages(1 - side)), (1, 0));
    drop(lots);
    let (_, found) = next(keep);
    assert_eq!(found.connections[0].slot.index(), stays.slot.index());
    assert_eq!(found.connections.len(), 1);
}
