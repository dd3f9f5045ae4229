//! Clients without an upstream that have had one.

use std::mem::offset_of;
use std::net::Shutdown;

use super::*;
use crate::proxy::keep::table::layout::{RawFlow, RawSlot, SLOTS_AT, State};
use crate::service::ending;

/// Carries these bytes one way, with everything that is written down.
pub(super) fn carry(keep: Keep, through: &mut Through, way: Way, bytes: &[u8]) {
    let (source, sink) = match way {
        Way::Up => (&mut through.client, &mut through.upstream),
        Way::Down => (&mut through.upstream, &mut through.client),
    };
    source.write_all(bytes).unwrap();
    let mut buffer = keep.buffers().take().unwrap();
    let ours = match way {
        Way::Up => [&through.sockets[0], &through.sockets[1]],
        Way::Down => [&through.sockets[1], &through.sockets[0]],
    };
    let flow = through.slot.flow(way);
    flow.receiving(Place::Buffer(buffer.number()));
    let part = &mut buffer[..bytes.len()];
    recv(ours[0], &mut *part, RecvFlags::WAITALL).unwrap();
    flow.received(bytes.len());
    flow.sending();
    send(ours[1], part, SendFlags::empty()).unwrap();
    flow.sent(bytes.len());
    sink.read_exact(part).unwrap();
    assert_eq!(part, bytes);
}

/// A client that was served and has no upstream any more.
fn detached(keep: Keep) -> Through {
    let mut through = Through::new(keep);
    carry(keep, &mut through, Way::Up, b"request");
    carry(keep, &mut through, Way::Down, b"its reply");
    detach(keep, &mut through);
    through
}

pub(super) fn detach(keep: Keep, through: &mut Through) {
    keep.detach(through.slot);
    ending::end_both_ways(&through.sockets[1]);
    assert_eq!(through.upstream.read(&mut [0]).unwrap(), 0);
}

/// The client gets another upstream.
fn attach(keep: Keep, through: &mut Through) {
    let (connected, upstream) = pair();
    through.slot.begin_anew(through.sockets[0].as_fd()).unwrap();
    through.sockets[1] = connected.into();
    through.upstream = upstream;
    let [client, upstream] = through.sockets.each_ref().map(AsFd::as_fd);
    assert!(keep.park(through.slot, client, upstream));
}

/// What the next process finds of the client, which has no upstream.
fn found_detached(keep: Keep) -> (Keep, RestoredConnection) {
    let (keep, mut found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (1, 0));
    let restored = found.connections.remove(0);
    assert!(matches!(restored.stage, Stage::Accepted) && restored.slot.is_used());
    (keep, restored)
}

#[track_caller]
pub(super) fn why_lost(keep: Keep) -> Unclear {
    let (_, found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (0, 1));
    found.lost[0].why.unwrap()
}

pub(super) fn word(keep: Keep, offset: usize, bytes: &[u8]) {
    let table = keep.core.parking.table.file();
    rustix::io::pwrite(table, bytes, (SLOTS_AT + offset) as u64).unwrap();
}

pub(super) fn slot_bytes(keep: Keep) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<RawSlot>()];
    let table = keep.core.parking.table.file();
    rustix::io::pread(table, &mut *bytes, SLOTS_AT as u64).unwrap();
    bytes
}

/// The words that are stored when a slot begins anew, in that order, with their lengths.
pub(super) fn stores() -> Vec<(usize, usize)> {
    let bases = offset_of!(RawSlot, bases);
    let mut stores = vec![(bases, 8), (bases + 8, 8)];
    for way in 0..2 {
        let flow = offset_of!(RawSlot, flows) + way * size_of::<RawFlow>();
        stores.extend([
            (flow + offset_of!(RawFlow, place), 8),
            (flow + offset_of!(RawFlow, base), 8),
            (flow + offset_of!(RawFlow, taken), 8),
            (flow + offset_of!(RawFlow, given), 8),
            (flow + offset_of!(RawFlow, prefix), 4),
            (flow + offset_of!(RawFlow, act), 4),
        ]);
    }
    stores
}

#[test]
fn beginning_anew_may_be_interrupted_anywhere_and_done_again() {
    for done in 0..=stores().len() {
        let keep = first();
        let mut through = Through::new(keep);
        let header = keep.buffers().take().unwrap();
        let flow = through.slot.flow(Way::Up);
        flow.prefix(Place::Buffer(header.number()), 3);
        flow.sending();
        send(&through.sockets[1], b"PRO", SendFlags::empty()).unwrap();
        flow.sent(3);
        through.upstream.read_exact(&mut [0; 3]).unwrap();
        carry(keep, &mut through, Way::Up, b"request");
        carry(keep, &mut through, Way::Down, b"its reply");
        detach(keep, &mut through);
        let before = slot_bytes(keep);
        through.slot.begin_anew(through.sockets[0].as_fd()).unwrap();
        let after = slot_bytes(keep);
        word(keep, 0, &before);
        for (offset, length) in &stores()[..done] {
            word(keep, *offset, &after[*offset..offset + length]);
        }
        if done == stores().len() {
            assert_eq!(slot_bytes(keep), after, "there are no other stores");
        }
        // The process goes on, or another one does.
        match done % 2 {
            0 => through.slot.begin_anew(through.sockets[0].as_fd()).unwrap(),
            _ => drop(found_detached(keep)),
        }
        assert_eq!(through.slot.bases(), [7, 9], "{done}");
        for way in Way::BOTH {
            let record = through.slot.flow(way).record().unwrap();
            assert_eq!(record, account::Record::default(), "{done}");
        }
    }
}

#[test]
fn what_a_client_has_said_and_its_end_wait_for_the_next_upstream() {
    for end in [false, true] {
        let keep = first();
        let mut through = detached(keep);
        through.client.write_all(b"more").unwrap();
        if end {
            through.client.shutdown(Shutdown::Write).unwrap();
        }
        let (keep, restored) = found_detached(keep);
        through.sockets[0] = restored.client;
        attach(keep, &mut through);
        assert_eq!(through.slot.bases(), [7, 9]);
        let mut buffer = keep.buffers().take().unwrap();
        let flow = through.slot.flow(Way::Up);
        flow.receiving(Place::Buffer(buffer.number()));
        let (count, _) = recv(&through.sockets[0], &mut *buffer, RecvFlags::empty()).unwrap();
        assert_eq!(count, 4);
        let (_, found) = next(keep);
        assert_eq!(in_hand(&found.connections[0]), b"more");
        std::mem::forget((buffer, found));
    }
}

/// One more or one less than what the kernel had counted.
fn wrong() -> impl Iterator<Item = [u64; 2]> {
    [
        [8, 9],
        [6, 9],
        [7, 10],
        [7, 8],
        [0, 9],
        [7, 0],
        [u64::MAX, 9],
        [7, u64::MAX],
    ]
    .into_iter()
}

fn set_bases(keep: Keep, bases: [u64; 2]) {
    let bytes = bases.map(u64::to_ne_bytes).concat();
    word(keep, offset_of!(RawSlot, bases), &bytes);
}

#[test]
fn a_wrong_base_is_never_believed() {
    for bases in wrong() {
        let keep = first();
        let mut through = detached(keep);
        attach(keep, &mut through);
        let buffer = through.receive(keep, b"hello");
        through.slot.flow(Way::Up).received(5);
        through.send_two(&buffer);
        set_bases(keep, bases);
        assert_eq!(why_lost(keep), Unclear::Contradiction, "{bases:?}");
        assert!(through.client.read(&mut [0]).is_err(), "it is reset");
    }
    for bases in wrong() {
        let keep = first();
        let mut through = detached(keep);
        attach(keep, &mut through);
        carry(keep, &mut through, Way::Up, b"x");
        detach(keep, &mut through);
        set_bases(keep, bases);
        let result = through.slot.begin_anew(through.sockets[0].as_fd());
        // Unless it looks as if it had begun anew already.
        let is_done = bases == [8, 9];
        assert_eq!(result.is_ok(), is_done, "{bases:?}");
        if !is_done {
            assert_eq!(through.slot.bases(), bases, "nothing was changed");
            assert_eq!(why_lost(keep), Unclear::Contradiction);
        }
    }
}

#[test]
fn bytes_in_hand_of_a_client_without_an_upstream_are_not_forgotten_silently() {
    let keep = first();
    let mut through = Through::new(keep);
    let _buffer = through.receive(keep, b"GET /");
    through.slot.flow(Way::Up).received(5);
    keep.detach(through.slot);
    assert_eq!(why_lost(keep), Unclear::Missing);
    assert!(through.client.read(&mut [0]).is_err(), "it is reset");
}

#[test]
fn a_client_that_has_left_meanwhile_is_neither_found_nor_missed() {
    for has_left in [true, false] {
        let keep = first();
        let through = detached(keep);
        match has_left {
            true => {
                ending::reset_on_close(&through.client);
                drop(through.client);
                let result = through.slot.begin_anew(through.sockets[0].as_fd());
                assert_eq!(result, Err(Unclear::Uncounted));
            }
            // The process was killed when it had ended the client.
            false => ending::end_orderly(&through.sockets[0]).unwrap(),
        }
        let (keep, found) = next(keep);
        assert_eq!((found.connections.len(), found.lost.len()), (0, 0));
        assert_eq!(keep.claim().unwrap().index(), through.slot.index());
    }
}

#[test]
fn the_next_connection_in_a_slot_begins_with_nothing() {
    let keep = first();
    let mut through = detached(keep);
    attach(keep, &mut through);
    through.slot.set_requests([1, 2, 3]);
    keep.detach(through.slot);
    let (keep, restored) = found_detached(keep);
    assert_eq!(restored.slot.requests(), [1, 2, 3]);
    keep.release(restored.slot);
    let slot = keep.claim().unwrap();
    assert_eq!(slot.index(), restored.slot.index());
    assert_eq!((slot.requests(), slot.is_used()), ([0; 3], false));
    assert_eq!((slot.bases(), slot.carried()), ([0; 2], (0, 0)));
}

#[test]
fn a_client_that_could_not_be_parked_with_its_upstream_is_found_without_it() {
    let keep = first();
    let mut through = Through::new(keep);
    carry(keep, &mut through, Way::Up, b"request");
    let state = through.slot.state();
    let parked = false;
    through.slot.set_state(State { parked, ..state });
    detach(keep, &mut through);
    let (_, restored) = found_detached(keep);
    assert!(restored.slot.is_parked());
}

#[test]
fn recycling_leaves_the_client_and_drops_the_upstream_that_it_has_left() {
    let keep = first();
    let through = detached(keep);
    let parking = &keep.core.parking;
    assert_eq!(parking.places.useful(), 1);
    keep.tidy();
    assert_eq!(parking.lots().descriptors(), 1);
    let (keep, restored) = found_detached(keep);
    assert_eq!(cookie(&restored.client), cookie(&through.sockets[0]));
    assert_eq!(keep.core.parking.places.useful(), 1);
}

/// As with a pool of clients that stay while their service is started and stopped again and again.
#[test]
fn upstreams_that_were_left_do_not_pile_up() {
    let keep = first();
    let mut all: Vec<Through> = (0..10).map(|_| detached(keep)).collect();
    let mut most = 0;
    for _ in 0..50 {
        for through in &mut all {
            attach(keep, through);
        }
        for through in &mut all {
            detach(keep, through);
            most = most.max(keep.core.parking.lots().descriptors());
        }
    }
    assert!(most < 200, "{most}");
    let (_, found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (10, 0));
}

#[test]
fn a_client_that_another_process_has_served_is_kept_from_where_it_is() {
    let keep = first();
    let (mut client, accepted) = pair();
    client.write_all(b"request").unwrap();
    recv(&accepted, &mut [0; 7], RecvFlags::WAITALL).unwrap();
    send(&accepted, b"its reply", SendFlags::empty()).unwrap();
    client.write_all(b"next").unwrap();
    let slot = keep.claim().unwrap();
    slot.begin_passed(accepted.as_fd(), (0, 0), false).unwrap();
    slot.describe(1, Uptime::now());
    slot.set_client(accepted.as_fd());
    assert!(keep.park_client(slot, accepted.as_fd()));
    let (_, restored) = found_detached(keep);
    assert_eq!(restored.slot.requests(), Slot::DETACHED);
    assert_eq!(restored.slot.carried(), (7, 9));
    restored.slot.begin_anew(restored.client.as_fd()).unwrap();
    assert_eq!(restored.slot.bases(), [7, 9]);
}

#[test]
fn a_client_that_has_left_before_it_is_kept_is_not_kept() {
    let keep = first();
    let (client, accepted) = pair();
    ending::reset_on_close(&client);
    drop(client);
    recv(&accepted, &mut [0; 1], RecvFlags::empty()).unwrap_err();
    let slot = keep.claim().unwrap();
    let begun = slot.begin_passed(accepted.as_fd(), (0, 0), false);
    assert_eq!(begun, Err(Unclear::Uncounted));
}

#[test]
fn a_client_of_another_process_that_waits_for_an_upstream_goes_on_waiting() {
    let keep = first();
    let (mut client, accepted) = pair();
    client.write_all(b"request").unwrap();
    recv(&accepted, &mut [0; 7], RecvFlags::WAITALL).unwrap();
    let slot = keep.claim().unwrap();
    slot.begin_passed(accepted.as_fd(), (0, 0), true).unwrap();
    slot.describe(1, Uptime::now());
    slot.set_client(accepted.as_fd());
    assert!(keep.park_client(slot, accepted.as_fd()));
    let (_, restored) = found_detached(keep);
    assert_eq!(restored.slot.requests(), [0; 3]);
}
