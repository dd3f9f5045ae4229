//! A process that follows another one.

use super::*;

#[test]
fn a_successor_counts_the_connections_of_the_process_before() {
    let mut gate = TestGate::with(2);
    gate.lock(A, WAIT, 1);
    let mut next = gate.next(2);
    next.took_over(gate.open_connections()).unwrap();
    assert_eq!(next.state(), GateState::Draining);
    assert_eq!(next.open_connections(), 2);
    next.lock(A, WAIT, 3);
    assert_eq!(next.predecessor_has(1), []);
    assert_eq!(next.predecessor_has(5), [], "it accepts none any more");
    assert_eq!((next.outcome(A), next.open_in_predecessor()), (None, 1));
    assert_eq!(next.predecessor_has(0), [Notice::Drained]);
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}

#[test]
fn connections_that_an_earlier_process_handed_over_count_until_their_end() {
    let mut gate = TestGate::with(2);
    gate.lock(A, WAIT, 1);
    // It was killed, and one of the two is still open.
    let mut next = gate.next(2);
    next.adopt(1);
    assert_eq!(next.predecessor_has(0), []);
    assert_eq!(next.state(), GateState::Draining);
    assert_eq!(next.open_connections(), 1);
    next.lock(A, WAIT, 3);
    assert_eq!(next.outcome(A), None);
    assert_eq!(next.closed(2), [Notice::Drained]);
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}

#[test]
fn connections_that_a_predecessor_has_handed_over_count_after_its_end() {
    let mut next = TestGate::with(0);
    next.took_over(3).unwrap();
    next.lock(A, WAIT, 3);
    next.adopt(2);
    assert_eq!(next.predecessor_has(0), []);
    assert_eq!(next.open_connections(), 2);
    assert_eq!(next.open_in_predecessor(), 0);
    assert_eq!(next.closed(2), []);
    assert_eq!(next.closed(2), [Notice::Drained]);
}

#[test]
fn a_successor_drops_the_wish_that_the_process_before_should_end() {
    for full in [false, true] {
        let mut gate = TestGate::with(0);
        gate.lock(A, exit_after(10, Mode::AtOnce), 0);
        let mut next = gate.next(2);
        next.disk.full = full;
        assert_eq!(next.took_over(0).is_err(), full);
        assert_eq!(next.disk.record.as_ref() == next.lock_record(), !full);
        assert_eq!(next.lock_record().unwrap().at_lease_end, LeaseEnd::Open);
        let notices = next.tick(10);
        let is_reported = usize::from(full);
        assert_eq!((&notices[0], notices.len()), (&LEASE_OVER, 1 + is_reported));
    }
}

#[test]
fn a_process_that_has_retired_writes_nothing_down_any_more() {
    let mut gate = TestGate::with(1);
    gate.lock(A, exit_after(10, Mode::Wait), 0);
    let record = gate.disk.record.clone();
    gate.retire(false);
    assert!(gate.is_retired() && gate.is_stopping() && !gate.may_accept());
    assert!(gate.try_lock(B, AT_ONCE, 1).is_err());
    let mut notices = gate.gone(A);
    notices.extend(gate.unlock());
    notices.extend(gate.tick(100));
    notices.extend(gate.closed(2));
    assert_eq!(notices, []);
    assert_eq!((gate.open_connections(), gate.next_deadline()), (0, None));
    assert_eq!(gate.disk.record, record);
}

#[test]
fn after_a_restart_waiting_callers_have_time_to_come_back() {
    let mut gate = TestGate::with(1);
    gate.lock(A, WAIT, 1);
    let mut gate = gate.next(100);
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.tick(109), []);
    assert_eq!(gate.clone().tick(110), [NO_CALLER]);
    gate.lock(A, WAIT, 109);
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
    assert_eq!(gate.tick(200), []);
    assert_eq!(gate.state(), GateState::Locked);
}

#[test]
fn a_process_that_ends_leaves_the_lock_to_the_next_one() {
    let mut gate = TestGate::with(1);
    gate.lock(A, WAIT, 1);
    gate.stopping();
    assert_eq!(gate.gone(A), []);
    assert!(gate.disk.record.is_some());
}

#[test]
fn a_drain_that_the_end_of_the_process_completes_is_reported_by_the_next_one() {
    let mut gate = TestGate::with(1);
    gate.lock(A, WAIT, 1);
    gate.stopping();
    gate.closed(2);
    assert_eq!(gate.outcome(A), None);
    let mut next = gate.next(2);
    let kept = next.lock_record().unwrap().kept;
    assert!(!kept, "if the caller has died, the lock is taken back");
    next.lock(A, WAIT, 3);
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}
