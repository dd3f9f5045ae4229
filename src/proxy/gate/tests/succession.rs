//! A process that follows another one.

use super::*;

#[test]
fn a_successor_counts_the_connections_of_the_process_before() {
    let (mut gate, mut disk) = open_gate_with(2);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    let mut next = Gate::new(10, disk.record.clone(), at(2));
    next.set_has_target(true);
    next.took_over(gate.open(), &mut disk).unwrap();
    gate.retire();
    assert_eq!((next.state(), next.open()), (GateState::Draining, 2));
    next.lock(A, request(Mode::Wait), at(3), &mut disk).unwrap();
    assert_eq!(next.predecessor_has(1, at(2), &mut disk), []);
    assert_eq!(
        next.predecessor_has(5, at(2), &mut disk),
        [],
        "nobody can come in there"
    );
    assert_eq!((next.outcome(A), next.open_in_predecessor()), (None, 1));
    assert_eq!(next.predecessor_has(0, at(2), &mut disk), [Notice::Drained]);
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}

#[test]
fn connections_that_an_earlier_process_handed_over_count_until_their_end() {
    let (mut gate, mut disk) = open_gate_with(2);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    // It was killed, and one of the two is still open.
    let mut next = Gate::new(10, disk.record.clone(), at(2));
    next.adopt(1);
    assert_eq!(next.predecessor_has(0, at(2), &mut disk), []);
    assert_eq!((next.state(), next.open()), (GateState::Draining, 1));
    next.lock(A, request(Mode::Wait), at(3), &mut disk).unwrap();
    assert_eq!(next.outcome(A), None);
    assert_eq!(next.closed(at(2), &mut disk), [Notice::Drained]);
    assert_eq!(next.outcome(A), Some(&Outcome::Drained));
}

#[test]
fn what_a_predecessor_has_handed_over_goes_on_counting_when_it_ends() {
    let (mut gate, mut disk) = open_gate_with(3);
    let mut next = Gate::new(10, None, at(2));
    next.took_over(gate.open(), &mut disk).unwrap();
    gate.retire();
    next.lock(A, request(Mode::Wait), at(3), &mut disk).unwrap();
    next.adopt(2);
    assert_eq!(next.predecessor_has(0, at(2), &mut disk), []);
    assert_eq!((next.open(), next.open_in_predecessor()), (2, 0));
    assert_eq!(next.closed(at(2), &mut disk), []);
    assert_eq!(next.closed(at(2), &mut disk), [Notice::Drained]);
}

#[test]
fn a_successor_drops_the_wish_that_the_process_before_should_end() {
    let (mut gate, mut disk) = open_gate_with(0);
    gate.lock(A, exit_after(10, Mode::AtOnce), at(0), &mut disk)
        .unwrap();
    let mut next = Gate::new(10, disk.record.clone(), at(2));
    next.took_over(0, &mut disk).unwrap();
    assert_eq!(disk.record.as_ref(), next.lock_record());
    assert_eq!(
        next.tick(at(10), &mut disk),
        [Notice::Opened(Opened::Lease)]
    );

    gate.lock(A, exit_after(20, Mode::AtOnce), at(0), &mut disk)
        .unwrap();
    let mut next = Gate::new(10, disk.record.clone(), at(2));
    disk.full = true;
    assert!(next.took_over(0, &mut disk).is_err());
    assert_eq!(next.lock_record().unwrap().at_lease_end, LeaseEnd::Open);
}

#[test]
fn a_process_that_has_retired_writes_nothing_down_any_more() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, exit_after(10, Mode::Wait), at(0), &mut disk)
        .unwrap();
    let record = disk.record.clone();
    gate.retire();
    assert!(gate.is_retired() && gate.is_stopping() && !gate.may_accept());
    assert!(
        gate.lock(B, request(Mode::AtOnce), at(1), &mut disk)
            .is_err()
    );
    let mut notices = gate.caller_gone(A, &mut disk);
    notices.extend(gate.unlock(&mut disk));
    notices.extend(gate.tick(at(100), &mut disk));
    notices.extend(gate.closed(at(2), &mut disk));
    assert_eq!(
        (notices, gate.open(), gate.next_deadline()),
        (vec![], 0, None)
    );
    assert_eq!(disk.record, record);
}
