//! Locks that outlive their process.

use super::*;

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
