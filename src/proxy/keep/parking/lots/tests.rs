//! Queues of messages with descriptors.

use super::*;
use crate::proxy::keep::parking::message::Kind;
use crate::proxy::keep::parking::queue::pair;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

fn lots() -> Lots {
    limited(u64::MAX)
}

fn limited(limit: u64) -> Lots {
    let pairs = std::array::from_fn(|_| pair().unwrap());
    Lots::new(pairs, Budget::new(limit, 100_000))
}

/// Parks a client of that index.
fn park(lots: &Lots, side: LotSide, index: u32, socket: &UnixStream) -> Result<(), Refusal> {
    send(lots, side, &[client(index)], &[socket.as_raw_fd()])
}

fn send(
    lots: &Lots,
    side: LotSide,
    entries: &[LotEntry],
    descriptors: &[RawFd],
) -> Result<(), Refusal> {
    lots.send(side, entries, descriptors, Occasion::Parking)
}

fn empty(lots: &Lots, side: LotSide) {
    for queue in 0..PAIRS {
        while lots.messages_in(side, queue) > 0 {
            lots.throw_away(side, queue, 1);
        }
    }
}

fn client(index: u32) -> LotEntry {
    LotEntry {
        kind: Kind::Client,
        index,
        generation: 1,
    }
}

fn indices(lots: &Lots, side: LotSide) -> Vec<u32> {
    let mut indices = Vec::new();
    lots.look(side, |message| {
        assert_eq!(message.descriptors.len(), message.entries.len());
        indices.extend(message.entries.iter().map(|entry| entry.index));
    })
    .unwrap();
    indices
}

#[test]
fn what_is_looked_at_stays_and_the_sides_do_not_mix() {
    let lots = lots();
    let (end, _) = UnixStream::pair().unwrap();
    for index in 0..5 {
        park(&lots, index as usize % 2, index, &end).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(indices(&lots, 0), [0, 2, 4]);
        assert_eq!(indices(&lots, 1), [1, 3]);
    }
    empty(&lots, 0);
    assert_eq!((indices(&lots, 0), lots.messages(0)), (vec![], 0));
    assert_eq!((indices(&lots, 1), lots.messages(1)), (vec![1, 3], 2));
}

#[test]
fn a_lot_keeps_descriptors_open_and_emptying_it_closes_them() {
    let lots = lots();
    let (end, mut other) = UnixStream::pair().unwrap();
    park(&lots, 0, 1, &end).unwrap();
    drop(end);
    other.write_all(b"x").unwrap();
    empty(&lots, 0);
    let error = other.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_lot_refuses_and_full_messages_hold_tens_of_thousands() {
    let lots = lots();
    let (end, _other) = UnixStream::pair().unwrap();
    let mut count = 0;
    while park(&lots, 0, count, &end).is_ok() {
        count += 1;
    }
    let full = park(&lots, 0, count, &end);
    assert_eq!(full, Err(Refusal::Full));
    assert_eq!(indices(&lots, 0), (0..count).collect::<Vec<u32>>());
    let many = vec![client(7); DESCRIPTORS_MAX];
    let numbers = vec![end.as_raw_fd(); DESCRIPTORS_MAX];
    for _ in 0..160 {
        send(&lots, 1, &many, &numbers).unwrap();
    }
    assert_eq!(indices(&lots, 1).len(), 160 * DESCRIPTORS_MAX);
    empty(&lots, 0);
    empty(&lots, 1);
}

#[test]
fn the_number_of_descriptors_is_limited_and_recycling_may_have_one_message_more() {
    let lots = limited(1024);
    let budget = Budget::new(1024, 100_000);
    let (end, _other) = UnixStream::pair().unwrap();
    for number in 0..budget.parked {
        park(&lots, number % 2, 1, &end).unwrap();
    }
    assert_eq!(lots.descriptors(), budget.parked);
    let refused = Err(Refusal::TooMany);
    assert_eq!(park(&lots, 0, 1, &end), refused);
    let one = [end.as_raw_fd()];
    lots.send(1, &[client(1)], &one, Occasion::Recycling)
        .unwrap();
    lots.throw_away(0, 0, 1);
    assert_eq!(park(&lots, 0, 1, &end), refused);
    lots.throw_away(0, 0, 1);
    assert_eq!(park(&lots, 0, 1, &end), Ok(()));
}

#[test]
fn messages_that_were_looked_at_can_be_thrown_away() {
    let lots = lots();
    let (end, _other) = UnixStream::pair().unwrap();
    for index in 0..5 {
        park(&lots, 0, index, &end).unwrap();
    }
    let ahead = |count: usize| {
        let mut indices = Vec::new();
        lots.look_ahead(0, 0, |entries| {
            indices.extend(entries.iter().map(|entry| entry.index));
            indices.len() < count
        })
        .unwrap();
        indices
    };
    assert_eq!((ahead(2), ahead(9)), (vec![0, 1], vec![0, 1, 2, 3, 4]));
    lots.throw_away(0, 0, 1);
    assert_eq!(ahead(3), [1, 2, 3]);
    assert_eq!(
        (indices(&lots, 0), lots.descriptors()),
        (vec![1, 2, 3, 4], 4)
    );
}
