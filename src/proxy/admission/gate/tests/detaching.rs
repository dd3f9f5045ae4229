//! Clients that stay connected without an upstream.

use super::*;

const NOW: Attaching = Attaching::Now;

#[test]
fn a_drain_is_complete_when_no_upstream_is_connected_however_many_clients_are() {
    let mut gate = TestGate::with(3);
    assert_eq!(gate.detached(1), []);
    assert_eq!(gate.lock(A, WAIT, 1), [Notice::Locked]);
    assert_eq!(gate.state(), GateState::Draining);
    assert_eq!(gate.detached(2), []);
    assert_eq!(gate.outcome(A), None);
    assert_eq!(gate.detached(2), [Notice::Drained]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(
        (gate.open_connections(), gate.detached_connections()),
        (0, 3)
    );
}

#[test]
fn a_lock_while_all_clients_are_detached_is_granted_at_once() {
    let mut gate = TestGate::with(2);
    gate.detached(1);
    gate.detached(1);
    assert_eq!(gate.lock(A, WAIT, 1), [Notice::Locked, Notice::Drained]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
}

#[test]
fn while_the_gate_is_closed_no_client_is_attached_and_after_that_each_is() {
    let mut gate = TestGate::with(2);
    gate.detached(1);
    gate.lock(A, WAIT, 1);
    assert_eq!(gate.attaching(), Attaching::Later, "draining");
    gate.detached(1);
    assert_eq!(gate.attaching(), Attaching::Later, "locked");
    gate.unlock();
    assert!(gate.may_attach());
    gate.attached();
    gate.attached();
    assert_eq!(
        (gate.open_connections(), gate.detached_connections()),
        (2, 0)
    );
}

#[test]
fn a_client_that_was_detached_is_progress_of_the_drain() {
    let mut gate = TestGate::with(2);
    let impatient = LockRequest {
        progress_timeout: seconds(10),
        ..WAIT
    };
    gate.lock(A, impatient, 100);
    gate.detached(109);
    assert_eq!(gate.tick(118), []);
    assert_eq!(gate.tick(119), [NO_CALLER]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Stalled { open: 1 }));
}

#[test]
fn a_detached_client_takes_a_place_until_it_leaves() {
    let mut gate = TestGate::with(10);
    assert!(!gate.may_accept());
    gate.detached(1);
    assert!(
        !gate.may_accept(),
        "as many clients are connected as before"
    );
    assert!(gate.may_attach(), "it has its place");
    gate.detached_gone();
    assert!(gate.may_accept());
    assert_eq!((gate.open_connections(), gate.connected()), (9, 9));
}

#[test]
fn a_detached_client_that_leaves_says_nothing_about_the_drain() {
    let mut gate = TestGate::with(2);
    gate.detached(1);
    let impatient = LockRequest {
        progress_timeout: seconds(10),
        ..WAIT
    };
    gate.lock(A, impatient, 100);
    gate.detached_gone();
    assert_eq!(gate.next_deadline(), Some(at(110)));
    assert_eq!(gate.closed(2), [Notice::Drained]);
}

#[test]
fn without_a_target_a_detached_client_waits() {
    let mut gate = TestGate::with(0);
    gate.set_has_target(false);
    gate.adopt_detached(1);
    assert_eq!(gate.attaching(), Attaching::Later);
    gate.set_has_target(true);
    assert_eq!(gate.attaching(), NOW);
}

#[test]
fn a_client_that_speaks_is_attached_even_if_the_process_looks_whether_it_is_idle() {
    let mut gate = TestGate::with(1);
    gate.detached(1);
    gate.set_resting(true);
    assert!(!gate.may_accept() && gate.may_attach());
    assert_eq!(gate.connected(), 1, "so the process is not idle");
}

#[test]
fn a_process_that_is_about_to_end_attaches_no_client() {
    let mut gate = TestGate::with(1);
    gate.detached(1);
    gate.stopping();
    assert_eq!(gate.attaching(), Attaching::Never);
    let mut next = gate.next(2);
    next.adopt_detached(1);
    assert_eq!(next.attaching(), NOW);
}

#[test]
fn detached_clients_that_were_kept_do_not_hold_a_lock_up() {
    let mut gate = TestGate::with(1);
    gate.detached(1);
    gate.lock(A, AT_ONCE, 1);
    let mut next = gate.next(2);
    next.adopt_detached(1);
    assert_eq!(next.state(), GateState::Locked);
    assert_eq!(next.lock(B, WAIT, 3), []);
    assert_eq!(next.outcome(B), Some(&Outcome::Drained));
}

#[test]
fn the_detached_clients_of_a_process_that_has_retired_are_open_for_its_successor() {
    let mut gate = TestGate::with(2);
    gate.detached(1);
    let mut next = gate.next(2);
    next.took_over(gate.connected()).unwrap();
    gate.retire(false);
    assert_eq!(next.open_in_predecessor(), 2);
    next.lock(A, WAIT, 3);
    assert_eq!(
        gate.attaching(),
        NOW,
        "the drain of the successor waits for it"
    );
    gate.attached();
    assert_eq!(next.predecessor_has(gate.connected()), []);
    gate.closed(4);
    gate.detached(4);
    assert_eq!(next.predecessor_has(gate.connected()), []);
    gate.detached_gone();
    let notices = next.predecessor_has(gate.connected());
    assert_eq!(notices, [Notice::Drained]);
}

#[test]
fn clients_that_are_passed_on_are_detached_in_the_successor_and_its_drain_waits_for_them_no_more() {
    let mut gate = TestGate::with(2);
    gate.detached(1);
    let mut next = gate.next(2);
    next.took_over(gate.connected()).unwrap();
    gate.retire(true);
    assert_eq!(
        gate.attaching(),
        Attaching::Later,
        "they are attached there"
    );
    next.lock(A, WAIT, 3);
    assert_eq!(next.adopt_passed(1), []);
    assert_eq!(
        next.predecessor_has(gate.connected()),
        [],
        "it has not heard of it"
    );
    assert_eq!((next.open_in_predecessor(), next.connected()), (1, 2));
    gate.detached_gone();
    assert_eq!(next.predecessor_has(gate.connected()), []);
    gate.detached(4);
    assert_eq!(next.adopt_passed(1), [Notice::Drained]);
    assert_eq!(
        (next.open_connections(), next.detached_connections()),
        (0, 2)
    );
}

#[test]
fn clients_that_the_successor_does_not_take_are_attached_where_they_are() {
    let mut gate = TestGate::with(1);
    gate.detached(1);
    gate.retire(true);
    gate.stop_passing_on();
    assert_eq!(gate.attaching(), NOW);
}

#[test]
fn there_is_room_for_clients_of_the_predecessor_as_far_as_places_are_not_taken_here() {
    let mut next = TestGate::with(3);
    next.took_over(9).unwrap();
    assert_eq!((next.connected(), next.room_for_passed()), (12, 7));
    next.adopt_passed(7);
    assert_eq!((next.connected(), next.room_for_passed()), (12, 0));
    assert!(!next.may_accept());
}
