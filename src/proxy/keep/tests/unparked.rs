//! What found no room is parked when there is some.

use std::os::fd::AsRawFd;

use super::*;

/// Descriptors that may be in the lots.
const ROOM: usize = 8;

/// One whose lots have hardly any room.
fn small() -> Keep {
    let mut core = adopt(Parts::new(&options()).unwrap(), &options()).unwrap();
    core.parking.lots.get_mut().unwrap().budget.parked = ROOM;
    core.leak()
}

fn connection(keep: Keep) -> (Slot, [OwnedFd; 2]) {
    let sockets: [OwnedFd; 2] = [pair().0.into(), pair().0.into()];
    let slot = keep.claim().unwrap();
    keep.park(slot, sockets[0].as_fd(), sockets[1].as_fd());
    (slot, sockets)
}

fn parked(all: &[(Slot, [OwnedFd; 2])]) -> Vec<bool> {
    all.iter().map(|(slot, _)| slot.is_parked()).collect()
}

#[test]
fn what_was_not_parked_is_as_soon_as_there_is_room() {
    let keep = small();
    let mut all: Vec<_> = (0..4).map(|_| connection(keep)).collect();
    assert!(!keep.has_unparked());
    all.extend((0..3).map(|_| connection(keep)));
    assert!(keep.has_unparked());
    assert_eq!(parked(&all), [true, true, true, true, false, false, false]);
    assert_eq!((keep.park_unparked(), keep.has_unparked()), (3, true));
    // Two parked ones end, and one that had found no room.
    for ended in [5, 1, 0] {
        keep.release(all.remove(ended).0);
    }
    assert_eq!((keep.park_unparked(), keep.has_unparked()), (2, true));
    keep.tidy();
    assert_eq!((keep.park_unparked(), keep.has_unparked()), (0, false));
    assert_eq!(parked(&all), [true; 4]);
    assert_eq!(next(keep).1.connections.len(), 4);
}

/// To the next process it is a client without an upstream.
#[test]
fn a_client_that_waits_for_an_upstream_is_parked_later_too() {
    let keep = small();
    let others: Vec<_> = (0..4).map(|_| connection(keep)).collect();
    let client: OwnedFd = pair().0.into();
    let slot = keep.claim().unwrap();
    assert!(!keep.park_client(slot, client.as_fd()));
    keep.release(others[0].0);
    keep.tidy();
    assert_eq!(keep.park_unparked(), 0);
    assert!(slot.is_parked() && !slot.is_parked_with_upstream());
    let (_, found) = next(keep);
    let stage = |restored: &RestoredConnection| matches!(restored.stage, Stage::Accepted);
    assert_eq!(found.connections.iter().filter(|it| stage(it)).count(), 1);
    assert_eq!(found.connections.len(), 4);
}

/// What the will could not send is left open for an heir, and for no other process.
#[test]
fn an_heir_takes_what_was_left_open() {
    let keep = small();
    let parked: Vec<_> = (0..4).map(|_| connection(keep)).collect();
    let (slot, left_open) = connection(keep);
    assert!(!slot.is_parked());
    let cookies = left_open.each_ref().map(cookie);
    let heir = KeepOptions {
        is_heir: true,
        ..options()
    };
    // Closed when the heir was executed.
    let numbers = left_open.each_ref().map(AsRawFd::as_raw_fd);
    assert_eq!(next_with(keep, &heir).1.lost.len(), 1);

    let keep = small();
    let again: Vec<_> = (0..4).map(|_| connection(keep)).collect();
    let slot = keep.claim().unwrap();
    keep.park(slot, left_open[0].as_fd(), left_open[1].as_fd());
    for socket in left_open {
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
        std::mem::forget(socket);
    }
    let (_, found) = next_with(keep, &heir);
    assert_eq!((found.connections.len(), found.lost.len()), (5, 0));
    let mut connections = found.connections.into_iter();
    let connection = connections.find(|it| it.slot.index() == slot.index());
    let RestoredConnection { client, stage, .. } = connection.unwrap();
    let sockets = [client, stage.connected().0];
    assert_eq!(sockets.each_ref().map(AsRawFd::as_raw_fd), numbers);
    assert_eq!(sockets.each_ref().map(cookie), cookies);
    let flags = rustix::io::fcntl_getfd(&sockets[0]).unwrap();
    assert!(
        flags.contains(rustix::io::FdFlags::CLOEXEC),
        "it is found once"
    );
    drop((parked, again));
}

/// An heir that does not understand the table does not keep clients waiting for ever.
#[test]
fn an_heir_of_another_version_ends_what_was_left_open() {
    let (mut client, ours) = pair();
    let (_listening, kept) = pair();
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
    let numbers = [&ours, &kept].map(|socket| socket.as_raw_fd() as u32);
    let open = will::open_numbers();
    assert!(numbers.iter().all(|number| open.contains(number)));
    std::mem::forget(ours);
    assert_eq!(will::reset_left_open(numbers.to_vec()), 1);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(kept.peer_addr().is_ok(), "it is this process's own");
}
