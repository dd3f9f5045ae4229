//! What must hold of the gate after any events in any order.

mod detaching;
mod random;
mod succession;

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::machine::GRACE;
use super::*;
use crate::interface::{GateState, LeaseEnd};
use crate::service::clock::{Uptime, at};

/// A store in memory, which can be full.
#[derive(Clone, Debug, Default)]
struct Disk {
    record: Option<LockRecord>,
    full: bool,
}

impl LockStore for Disk {
    fn save(&mut self, lock: Option<&LockRecord>) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.record = lock.cloned();
        Ok(())
    }
}

/// A gate with a target and with its store. Times are in seconds.
#[derive(Clone, Debug)]
struct TestGate {
    gate: Gate,
    disk: Disk,
}

impl Deref for TestGate {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.gate
    }
}

impl DerefMut for TestGate {
    fn deref_mut(&mut self) -> &mut Gate {
        &mut self.gate
    }
}

impl TestGate {
    fn new(connections_max: usize, disk: Disk, now: Uptime) -> Self {
        let mut gate = Gate::new(connections_max, disk.record.clone(), now);
        gate.set_has_target(true);
        Self { gate, disk }
    }

    /// One for ten connections, of which `connections` are open.
    fn with(connections: usize) -> Self {
        let mut gate = Self::new(10, Disk::default(), at(0));
        (0..connections).for_each(|_| gate.accepted());
        gate
    }

    /// The gate of the next process, which starts at this time.
    fn next(&self, seconds: u64) -> Self {
        Self::new(10, self.disk.clone(), at(seconds))
    }

    fn try_lock(
        &mut self,
        caller: CallerId,
        request: LockRequest,
        seconds: u64,
    ) -> io::Result<Vec<Notice>> {
        let disk = &mut self.disk;
        self.gate.lock(caller, request, at(seconds), disk)
    }

    fn lock(&mut self, caller: CallerId, request: LockRequest, seconds: u64) -> Vec<Notice> {
        self.try_lock(caller, request, seconds).unwrap()
    }

    fn unlock(&mut self) -> Vec<Notice> {
        self.gate.unlock(&mut self.disk)
    }

    fn closed(&mut self, seconds: u64) -> Vec<Notice> {
        self.gate.closed(at(seconds), &mut self.disk)
    }

    fn detached(&mut self, seconds: u64) -> Vec<Notice> {
        self.gate.detached(at(seconds), &mut self.disk)
    }

    fn tick(&mut self, seconds: u64) -> Vec<Notice> {
        self.gate.tick(at(seconds), &mut self.disk)
    }

    fn gone(&mut self, caller: CallerId) -> Vec<Notice> {
        self.gate.caller_gone(caller, &mut self.disk)
    }

    fn took_over(&mut self, open: usize) -> io::Result<()> {
        self.gate.took_over(open, &mut self.disk)
    }

    fn adopt_passed(&mut self, count: usize) -> Vec<Notice> {
        self.gate.adopt_passed(count, at(2), &mut self.disk)
    }

    fn predecessor_has(&mut self, open: usize) -> Vec<Notice> {
        self.gate.predecessor_has(open, at(2), &mut self.disk)
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

const WAIT: LockRequest = LockRequest {
    mode: Mode::Wait,
    reason: None,
    realtime_usec: 0,
    timeout: None,
    progress_timeout: None,
    lease: None,
    at_lease_end: None,
    force_after: None,
    close_idle: None,
};

const AT_ONCE: LockRequest = LockRequest {
    mode: Mode::AtOnce,
    ..WAIT
};

/// A request for a lock whose lease ends the process.
fn exit_after(lease: u64, mode: Mode) -> LockRequest {
    LockRequest {
        mode,
        lease: seconds(lease),
        at_lease_end: Some(LeaseEnd::Exit),
        ..WAIT
    }
}

const A: CallerId = CallerId(1);
const B: CallerId = CallerId(2);

const NO_CALLER: Notice = Notice::Opened(OpenReason::NoCaller);
const LEASE_OVER: Notice = Notice::Opened(OpenReason::Lease);

#[test]
fn a_lock_waits_for_the_last_connection_and_then_stays() {
    let mut gate = TestGate::with(2);
    assert_eq!(gate.lock(A, WAIT, 1), [Notice::Locked]);
    assert_eq!(gate.state(), GateState::Draining);
    assert!(!gate.may_accept());
    assert_eq!(gate.closed(2), []);
    assert_eq!(gate.outcome(A), None);
    assert_eq!(gate.closed(2), [Notice::Drained]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
    assert_eq!(gate.gone(A), []);
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.unlock(), [Notice::Opened(OpenReason::Unlock)]);
    assert!(gate.may_accept());
    assert_eq!(gate.disk.record, None);
}

#[test]
fn idle_connections_are_ended_after_the_shortest_time_of_the_callers_that_wait() {
    let mut gate = TestGate::with(1);
    let close_idle = |time| LockRequest {
        close_idle: seconds(time),
        ..WAIT
    };
    gate.lock(A, close_idle(5), 1);
    assert_eq!(gate.close_idle(), seconds(5));
    gate.lock(B, close_idle(2), 1);
    assert_eq!(gate.close_idle(), seconds(2));
    gate.gone(B);
    assert_eq!(gate.close_idle(), seconds(5));
    gate.closed(2);
    assert_eq!(gate.close_idle(), None);
}

#[test]
fn a_lock_whose_caller_goes_away_is_taken_back_unless_another_waits() {
    let mut gate = TestGate::with(1);
    gate.lock(A, WAIT, 1);
    gate.lock(B, WAIT, 2);
    assert_eq!(gate.gone(A), []);
    assert_eq!(gate.state(), GateState::Draining);
    assert_eq!(gate.gone(B), [NO_CALLER]);
    assert!(gate.may_accept());
}

#[test]
fn a_caller_that_joins_a_kept_lock_and_goes_away_leaves_it_alone() {
    let mut gate = TestGate::with(1);
    gate.lock(A, AT_ONCE, 1);
    gate.lock(B, WAIT, 2);
    assert_eq!(gate.gone(B), []);
    assert_eq!(gate.state(), GateState::Draining);
}

#[test]
fn a_held_lock_ends_with_its_holder_also_after_the_drain() {
    let mut gate = TestGate::with(0);
    let hold = LockRequest {
        mode: Mode::Hold,
        ..WAIT
    };
    gate.lock(A, hold, 1);
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.outcome(A), None, "the call goes on");
    assert_eq!(gate.gone(A), [Notice::Opened(OpenReason::Holder)]);
}

#[test]
fn a_drain_that_takes_too_long_opens_the_gate_unless_others_wait() {
    let mut gate = TestGate::with(1);
    let timeout = seconds(5);
    gate.lock(A, LockRequest { timeout, ..WAIT }, 1);
    gate.lock(B, WAIT, 1);
    assert_eq!(gate.next_deadline(), Some(at(6)));
    assert_eq!(gate.tick(6), []);
    assert_eq!(gate.outcome(A), Some(&Outcome::TimedOut { open: 1 }));
    assert_eq!((gate.outcome(B), gate.state()), (None, GateState::Draining));
    assert_eq!(gate.gone(B), [NO_CALLER]);
}

#[test]
fn a_caller_may_give_up_when_nobody_leaves_any_more() {
    let mut gate = TestGate::with(3);
    let impatient = LockRequest {
        progress_timeout: seconds(10),
        ..WAIT
    };
    gate.lock(A, impatient, 100);
    assert_eq!(gate.next_deadline(), Some(at(110)));
    gate.closed(109);
    assert_eq!(gate.tick(118), []);
    assert_eq!(gate.outcome(A), None, "a connection has ended since");
    assert_eq!(gate.tick(119), [NO_CALLER]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Stalled { open: 2 }));
}

#[test]
fn a_lease_that_runs_out_opens_the_gate_and_the_longest_one_counts() {
    let mut gate = TestGate::with(0);
    let lease = |lease| LockRequest {
        lease: seconds(lease),
        ..AT_ONCE
    };
    gate.lock(A, lease(10), 0);
    gate.lock(B, lease(5), 1);
    assert_eq!(gate.tick(9), []);
    gate.lock(B, lease(20), 9);
    assert_eq!(gate.tick(28), []);
    assert_eq!(gate.tick(29), [LEASE_OVER]);
}

#[test]
fn a_lease_can_end_the_process_instead_and_then_the_gate_never_opens() {
    let mut gate = TestGate::with(1);
    gate.lock(A, exit_after(10, Mode::Wait), 0);
    assert_eq!(gate.tick(9), []);
    assert!(!gate.is_stopping());
    assert_eq!(gate.tick(10), [Notice::Ended]);
    assert!(gate.is_stopping() && !gate.may_accept());
    assert_eq!(gate.outcome(A), Some(&Outcome::Ended));
    assert_eq!(gate.disk.record, None, "the next process starts unlocked");
    assert_eq!(gate.unlock(), []);
    assert_eq!(gate.closed(2), []);
    assert!(!gate.may_accept());
}

#[test]
fn of_what_happens_at_the_end_of_a_lease_the_last_request_counts() {
    let exit = exit_after(10, Mode::AtOnce);
    let with_end = |lease, at_lease_end| LockRequest {
        at_lease_end,
        ..exit_after(lease, Mode::AtOnce)
    };
    let lease = |lease| with_end(lease, None);
    let open = with_end(5, Some(LeaseEnd::Open));
    for (requests, expected, until) in [
        (&[lease(10)][..], LeaseEnd::Open, Some(at(10))),
        (&[exit.clone(), lease(20)], LeaseEnd::Exit, Some(at(20))),
        (&[lease(20), exit.clone()], LeaseEnd::Exit, Some(at(20))),
        (&[exit.clone(), open], LeaseEnd::Open, Some(at(10))),
        (&[exit.clone(), AT_ONCE], LeaseEnd::Exit, None),
    ] {
        let mut gate = TestGate::with(0);
        for request in requests {
            gate.lock(A, request.clone(), 0);
        }
        let record = gate.lock_record().unwrap();
        assert_eq!((record.at_lease_end, record.lease_until), (expected, until));
        assert_eq!(gate.disk.record.as_ref(), Some(record));
    }
    let mut gate = TestGate::with(0);
    gate.lock(A, exit, 0);
    gate.unlock();
    gate.lock(A, lease(10), 0);
    let record = gate.lock_record().unwrap();
    assert_eq!(record.at_lease_end, LeaseEnd::Open, "unlock drops it");
}

#[test]
fn a_process_that_starts_after_the_end_of_the_lease_opens_its_gate() {
    let mut gate = TestGate::with(0);
    gate.lock(A, exit_after(10, Mode::AtOnce), 0);
    assert_eq!(gate.next(9).tick(10), [Notice::Ended]);
    let mut late = gate.next(11);
    assert_eq!(late.tick(11), [LEASE_OVER]);
    assert!(late.may_accept());
}

#[test]
fn force_is_used_once_and_only_while_draining() {
    let mut gate = TestGate::with(1);
    let force = LockRequest {
        force_after: seconds(5),
        ..WAIT
    };
    gate.lock(A, force, 0);
    assert_eq!(gate.tick(4), []);
    assert_eq!(gate.tick(5), [Notice::Force]);
    assert_eq!(gate.tick(6), []);
    assert_eq!(gate.closed(2), [Notice::Drained]);
    assert_eq!(gate.next_deadline(), None);
}

#[test]
fn a_lock_that_cannot_be_written_changes_nothing() {
    let mut gate = TestGate::with(1);
    gate.disk.full = true;
    assert!(gate.try_lock(A, WAIT, 1).is_err());
    assert!(gate.may_accept());
    assert_eq!(gate.callers(), 0);
}

#[test]
fn a_full_disk_at_the_end_of_the_drain_is_reported_and_opens_the_gate() {
    let mut gate = TestGate::with(1);
    gate.lock(A, WAIT, 1);
    gate.disk.full = true;
    let notices = gate.closed(2);
    assert!(matches!(gate.outcome(A), Some(Outcome::NotSaved(_))));
    assert!(notices.contains(&NO_CALLER), "{notices:?}");
    assert!(gate.may_accept());
}

#[test]
fn what_is_left_of_a_lock_is_removed_by_the_next_unlock() {
    let mut gate = TestGate::with(0);
    gate.lock(A, AT_ONCE, 0);
    gate.disk.full = true;
    let is_left = |notice: &Notice| matches!(notice, Notice::RecordLeft(_));
    assert!(gate.unlock().iter().any(is_left));
    assert!(gate.may_accept(), "clients pass all the same");
    assert!(gate.unlock().iter().any(is_left), "reported again");
    gate.disk.full = false;
    assert_eq!(gate.unlock(), []);
    assert_eq!(gate.disk.record, None);
}
