//! Locks that outlive their process.

use super::*;

#[test]
fn after_a_restart_waiting_callers_have_time_to_come_back() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    let mut gate = Gate::new(10, disk.record.clone(), at(100));
    gate.set_has_target(true);
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.tick(at(109), &mut disk), []);
    let mut abandoned = gate.clone();
    assert_eq!(
        abandoned.tick(at(110), &mut disk),
        [Notice::Opened(Opened::NoCaller)]
    );
    gate.lock(A, request(Mode::Wait), at(109), &mut disk)
        .unwrap();
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
    assert_eq!(gate.tick(at(200), &mut disk), []);
    assert_eq!(gate.state(), GateState::Locked);
}

#[test]
fn a_process_that_ends_leaves_the_lock_to_the_next_one() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    gate.stopping();
    assert_eq!(gate.caller_gone(A, &mut disk), []);
    assert!(disk.record.is_some());
}

#[test]
fn a_drain_that_the_end_of_the_process_completes_is_told_by_the_next_one() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    gate.stopping();
    gate.closed(at(2), &mut disk);
    assert_eq!(gate.outcome(A), None);
    let mut next = Gate::new(10, disk.record.clone(), at(2));
    assert!(
        !next.lock_record().unwrap().kept,
        "if the caller has died, it is taken back"
    );
    next.lock(A, request(Mode::Wait), at(3), &mut disk).unwrap();
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}
