//! Recycling that is interrupted at every point, and recycling that has no room.

use super::super::parking::lots::Refusal;
use super::super::parking::recycle::Continues;
use super::super::table::layout::State;
use super::*;

/// A connection that has to be found, with the last upstream that it had, if any.
struct Expected {
    slot: u32,
    sockets: [Option<u64>; 2],
}

fn recycle(keep: Keep, continues: Continues<'_>) -> bool {
    let lots = keep.core.parking.lots();
    keep.core.parking.move_over(&lots, continues)
}

/// Connections with one upstream, with another one, without, no longer with one, and some that have ended; several messages
/// about some of them, and slots that were used before. What is returned has to stay open.
fn busy(keep: Keep) -> (Vec<Expected>, Vec<Through>) {
    let (mut expected, mut open) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for number in 0..4 {
            let mut through = Through::new(keep);
            let slot = through.slot;
            let client = cookie(&through.sockets[0]);
            match number {
                0 => {
                    keep.release(slot);
                    continue;
                }
                1 => assert!(reconnect(keep, &mut through)),
                2 if round == 1 => {
                    keep.park_client(slot, through.sockets[0].as_fd());
                }
                2 if round == 2 => keep.detach(slot),
                _ => {}
            }
            let has_upstream = slot.phase() == Phase::Connected;
            let upstream = has_upstream.then(|| cookie(&through.sockets[1])).flatten();
            expected.push(Expected {
                slot: slot.index(),
                sockets: [client, upstream],
            });
            open.push(through);
        }
    }
    (expected, open)
}

/// Parks a connection with another upstream.
fn reconnect(keep: Keep, through: &mut Through) -> bool {
    let (connected, upstream) = pair();
    through.sockets[1] = connected.into();
    through.upstream = upstream;
    let [client, upstream] = through.sockets.each_ref().map(AsFd::as_fd);
    keep.park(through.slot, client, upstream)
}

/// Each is found, once, and with the last upstream.
fn all_are_found(keep: Keep, expected: &[Expected]) -> Keep {
    let (keep, found) = next(keep);
    assert_eq!(found.lost.len(), 0);
    assert_eq!(found.connections.len(), expected.len());
    for it in expected {
        let of_slot = |restored: &&RestoredConnection| restored.slot.index() == it.slot;
        let restored = found.connections.iter().find(of_slot).unwrap();
        let upstream = match &restored.stage {
            Stage::Connected { upstream, .. } => cookie(upstream),
            _ => None,
        };
        assert_eq!([cookie(&restored.client), upstream], it.sockets);
        assert!(restored.slot.is_parked());
    }
    // The next process has these descriptors as long as it lives.
    std::mem::forget(found);
    let useful: usize = expected
        .iter()
        .map(|it| it.sockets.iter().flatten().count())
        .sum();
    assert_eq!(keep.core.parking.places.useful(), useful);
    keep
}

/// Returns true `left` times.
fn times(mut left: usize) -> impl FnMut() -> bool {
    move || {
        left = left.wrapping_sub(1);
        left != usize::MAX
    }
}

#[test]
fn recycling_may_be_interrupted_anywhere_again_and_again() {
    let mut steps = 0;
    loop {
        let keep = first();
        let (expected, open) = busy(keep);
        let done = recycle(keep, &mut times(steps));
        for again in 0.. {
            let keep = all_are_found(keep, &expected);
            // The next one is interrupted too, and one that restores and nothing else.
            let done = recycle(keep, &mut times(again));
            let keep = all_are_found(keep, &expected);
            let keep = all_are_found(keep, &expected);
            // What was begun, and the rest.
            assert!(recycle(keep, &mut || true) && recycle(keep, &mut || true));
            let lots = keep.core.parking.lots();
            assert_eq!(lots.messages(1 - keep.core.parking.active()), 0);
            assert_eq!(lots.descriptors(), keep.core.parking.places.useful());
            drop(lots);
            all_are_found(keep, &expected);
            if done || again % 3 != steps % 3 {
                break;
            }
        }
        drop(open);
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 25, "{steps}");
}

/// A slot that is parked with another upstream while recycling is interrupted: the other one counts.
#[test]
fn what_is_parked_in_the_newer_lot_is_there() {
    for steps in 0..40 {
        let keep = first();
        let (mut expected, mut open) = busy(keep);
        recycle(keep, &mut times(steps));
        for (it, through) in expected.iter_mut().zip(&mut open) {
            assert!(reconnect(keep, through));
            it.sockets[1] = cookie(&through.sockets[1]);
        }
        let keep = all_are_found(keep, &expected);
        recycle(keep, &mut times(steps / 2));
        all_are_found(keep, &expected);
    }
}

/// A few descriptors fewer than connections and pipes would need: it continues without being parked, and
/// no work is done for nothing.
#[test]
fn without_room_and_without_anything_dead_nothing_is_recycled() {
    let keep = first();
    let all: Vec<Through> = (0..8).map(|_| Through::new(keep)).collect();
    let round = || keep.core.parking.lots().round;
    let before = round();
    assert!(keep.core.parking.recycle(before, Refusal::Full));
    let before = round();
    assert!(!keep.core.parking.recycle(before, Refusal::TooMany));
    assert_eq!(round(), before);
    keep.release(all[0].slot);
    assert!(keep.core.parking.recycle(before, Refusal::TooMany));
    assert_eq!(keep.core.parking.lots().descriptors(), 14);
}

/// A connection that could not be parked since it got its upstream.
fn unparked(keep: Keep) -> Through {
    let through = Through::new(keep);
    let state = through.slot.state();
    let parked = false;
    through.slot.set_state(State { parked, ..state });
    through
}

/// What could not be parked with its upstream is not found with one that it had before.
#[test]
fn what_could_not_be_parked_is_not_taken_for_what_was() {
    let keep = first();
    let _through = unparked(keep);
    let (_, found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (0, 1));
    assert!(found.lost[0].why.is_none());
}

#[test]
fn recycling_parks_also_what_could_not_be_parked_before() {
    let keep = first();
    let through = unparked(keep);
    recycle(keep, &mut || true);
    assert!(through.slot.is_parked());
    assert_eq!(next(keep).1.connections.len(), 1);
}
