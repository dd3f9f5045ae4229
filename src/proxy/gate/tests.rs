//! What must hold of the gate, whatever happens in whatever order.

mod random;
mod restart;
mod succession;

use std::io;
use std::time::Duration;

use super::machine::GRACE;
use super::*;
use crate::interface::{GateState, LeaseEnd};
use crate::service::clock::Uptime;

/// A store in memory that can be told to fail.
#[derive(Default)]
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

fn at(seconds: u64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

fn request(mode: Mode) -> LockRequest {
    LockRequest {
        mode,
        reason: None,
        realtime_usec: 0,
        timeout: None,
        progress_timeout: None,
        lease: None,
        at_lease_end: None,
        force_after: None,
    }
}

fn open_gate_with(connections: usize) -> (Gate, Disk) {
    let mut gate = Gate::new(10, None, at(0));
    gate.set_has_target(true);
    for _ in 0..connections {
        gate.accepted();
    }
    (gate, Disk::default())
}

const A: CallerId = CallerId(1);
const B: CallerId = CallerId(2);

#[test]
fn a_lock_waits_for_the_last_connection_and_then_stays() {
    let (mut gate, mut disk) = open_gate_with(2);
    assert_eq!(
        gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap(),
        [Notice::Locked]
    );
    assert_eq!(gate.state(), GateState::Draining);
    assert!(!gate.may_accept());
    assert_eq!(gate.closed(at(2), &mut disk), []);
    assert_eq!(gate.outcome(A), None);
    assert_eq!(gate.closed(at(2), &mut disk), [Notice::Drained]);
    assert_eq!(gate.outcome(A), Some(&Outcome::Drained));
    assert_eq!(gate.caller_gone(A, &mut disk), []);
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.unlock(&mut disk), [Notice::Opened(Opened::Asked)]);
    assert!(gate.may_accept());
    assert_eq!(disk.record, None);
}

#[test]
fn a_lock_whose_caller_goes_away_is_taken_back_unless_another_waits() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    gate.lock(B, request(Mode::Wait), at(2), &mut disk).unwrap();
    assert_eq!(gate.caller_gone(A, &mut disk), []);
    assert_eq!(gate.state(), GateState::Draining);
    assert_eq!(
        gate.caller_gone(B, &mut disk),
        [Notice::Opened(Opened::NoCaller)]
    );
    assert!(gate.may_accept());
}

#[test]
fn a_caller_that_joins_a_kept_lock_and_goes_away_leaves_it_alone() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::AtOnce), at(1), &mut disk)
        .unwrap();
    gate.lock(B, request(Mode::Wait), at(2), &mut disk).unwrap();
    assert_eq!(gate.caller_gone(B, &mut disk), []);
    assert_eq!(gate.state(), GateState::Draining);
}

#[test]
fn a_held_lock_ends_with_its_holder_also_after_the_drain() {
    let (mut gate, mut disk) = open_gate_with(0);
    gate.lock(A, request(Mode::Hold), at(1), &mut disk).unwrap();
    assert_eq!(gate.state(), GateState::Locked);
    assert_eq!(gate.outcome(A), None, "it goes on");
    assert_eq!(
        gate.caller_gone(A, &mut disk),
        [Notice::Opened(Opened::Holder)]
    );
}

#[test]
fn a_drain_that_takes_too_long_opens_the_gate_unless_others_wait() {
    let (mut gate, mut disk) = open_gate_with(1);
    let timeout = Some(Duration::from_secs(5));
    gate.lock(
        A,
        LockRequest {
            timeout,
            ..request(Mode::Wait)
        },
        at(1),
        &mut disk,
    )
    .unwrap();
    gate.lock(B, request(Mode::Wait), at(1), &mut disk).unwrap();
    assert_eq!(gate.next_deadline(), Some(at(6)));
    assert_eq!(gate.tick(at(6), &mut disk), []);
    assert_eq!(gate.outcome(A), Some(&Outcome::TimedOut { open: 1 }));
    assert_eq!((gate.outcome(B), gate.state()), (None, GateState::Draining));
    assert_eq!(
        gate.caller_gone(B, &mut disk),
        [Notice::Opened(Opened::NoCaller)]
    );
}

#[test]
fn a_caller_may_give_up_when_nobody_leaves_any_more() {
    let (mut gate, mut disk) = open_gate_with(3);
    let impatient = LockRequest {
        progress_timeout: Some(Duration::from_secs(10)),
        ..request(Mode::Wait)
    };
    gate.lock(A, impatient, at(100), &mut disk).unwrap();
    assert_eq!(gate.next_deadline(), Some(at(110)));
    gate.closed(at(109), &mut disk);
    assert!(gate.tick(at(118), &mut disk).is_empty());
    assert_eq!(gate.outcome(A), None, "somebody has left since");
    assert_eq!(
        gate.tick(at(119), &mut disk),
        [Notice::Opened(Opened::NoCaller)]
    );
    assert_eq!(gate.outcome(A), Some(&Outcome::Stalled { open: 2 }));
}

#[test]
fn a_lease_that_runs_out_opens_the_gate_and_the_longest_one_counts() {
    let (mut gate, mut disk) = open_gate_with(0);
    let lease = |seconds| LockRequest {
        lease: Some(Duration::from_secs(seconds)),
        ..request(Mode::AtOnce)
    };
    gate.lock(A, lease(10), at(0), &mut disk).unwrap();
    gate.lock(B, lease(5), at(1), &mut disk).unwrap();
    assert_eq!(gate.tick(at(9), &mut disk), []);
    gate.lock(B, lease(20), at(9), &mut disk).unwrap();
    assert_eq!(gate.tick(at(28), &mut disk), []);
    assert_eq!(
        gate.tick(at(29), &mut disk),
        [Notice::Opened(Opened::Lease)]
    );
}

/// A request of a lock whose lease ends the process.
fn exit_after(seconds: u64, mode: Mode) -> LockRequest {
    LockRequest {
        lease: Some(Duration::from_secs(seconds)),
        at_lease_end: Some(LeaseEnd::Exit),
        ..request(mode)
    }
}

#[test]
fn a_lease_can_end_the_process_instead_and_then_the_gate_never_opens() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, exit_after(10, Mode::Wait), at(0), &mut disk)
        .unwrap();
    assert_eq!(gate.tick(at(9), &mut disk), []);
    assert!(!gate.is_stopping());
    assert_eq!(gate.tick(at(10), &mut disk), [Notice::Ended]);
    assert!(gate.is_stopping() && !gate.may_accept());
    assert_eq!(gate.outcome(A), Some(&Outcome::Ended));
    assert_eq!(disk.record, None, "the next process starts unlocked");
    assert_eq!(gate.unlock(&mut disk), []);
    assert_eq!(gate.closed(at(2), &mut disk), []);
    assert!(!gate.may_accept());
}

#[test]
fn of_what_happens_at_the_end_of_a_lease_what_was_said_last_counts() {
    let end = |requests: &[LockRequest]| {
        let (mut gate, mut disk) = open_gate_with(0);
        for request in requests {
            gate.lock(A, request.clone(), at(0), &mut disk).unwrap();
        }
        assert_eq!(disk.record.as_ref(), gate.lock_record());
        gate.lock_record().unwrap().clone()
    };
    let exit = exit_after(10, Mode::AtOnce);
    let lease = |seconds| LockRequest {
        at_lease_end: None,
        ..exit_after(seconds, Mode::AtOnce)
    };
    let open = |seconds| LockRequest {
        at_lease_end: Some(LeaseEnd::Open),
        ..exit_after(seconds, Mode::AtOnce)
    };
    for (requests, expected, until) in [
        (&[lease(10)][..], LeaseEnd::Open, Some(at(10))),
        (&[exit.clone(), lease(20)], LeaseEnd::Exit, Some(at(20))),
        (&[lease(20), exit.clone()], LeaseEnd::Exit, Some(at(20))),
        (&[exit.clone(), open(5)], LeaseEnd::Open, Some(at(10))),
        (&[exit.clone(), request(Mode::AtOnce)], LeaseEnd::Exit, None),
    ] {
        let record = end(requests);
        assert_eq!((record.at_lease_end, record.lease_until), (expected, until));
    }
    let (mut gate, mut disk) = open_gate_with(0);
    gate.lock(A, exit, at(0), &mut disk).unwrap();
    gate.unlock(&mut disk);
    gate.lock(A, lease(10), at(0), &mut disk).unwrap();
    assert_eq!(
        gate.lock_record().unwrap().at_lease_end,
        LeaseEnd::Open,
        "unlock drops it"
    );
}

#[test]
fn a_process_that_starts_after_the_end_of_the_lease_opens_its_gate() {
    let (mut gate, mut disk) = open_gate_with(0);
    gate.lock(A, exit_after(10, Mode::AtOnce), at(0), &mut disk)
        .unwrap();
    let mut restarted = Gate::new(10, disk.record.clone(), at(9));
    assert_eq!(
        restarted.tick(at(10), &mut Disk::default()),
        [Notice::Ended]
    );
    let mut late = Gate::new(10, disk.record.clone(), at(11));
    late.set_has_target(true);
    assert_eq!(
        late.tick(at(11), &mut disk),
        [Notice::Opened(Opened::Lease)]
    );
    assert!(late.may_accept());
}

#[test]
fn force_is_used_once_and_only_while_draining() {
    let (mut gate, mut disk) = open_gate_with(1);
    let force_after = Some(Duration::from_secs(5));
    gate.lock(
        A,
        LockRequest {
            force_after,
            ..request(Mode::Wait)
        },
        at(0),
        &mut disk,
    )
    .unwrap();
    assert_eq!(gate.tick(at(4), &mut disk), []);
    assert_eq!(gate.tick(at(5), &mut disk), [Notice::Force]);
    assert_eq!(gate.tick(at(6), &mut disk), []);
    assert_eq!(gate.closed(at(2), &mut disk), [Notice::Drained]);
    assert_eq!(gate.next_deadline(), None);
}

#[test]
fn a_lock_that_cannot_be_written_changes_nothing() {
    let (mut gate, mut disk) = open_gate_with(1);
    disk.full = true;
    assert!(gate.lock(A, request(Mode::Wait), at(1), &mut disk).is_err());
    assert!(gate.may_accept());
    assert_eq!(gate.callers(), 0);
}

#[test]
fn a_full_disk_when_the_drain_is_complete_is_told_and_opens_the_gate() {
    let (mut gate, mut disk) = open_gate_with(1);
    gate.lock(A, request(Mode::Wait), at(1), &mut disk).unwrap();
    disk.full = true;
    let notices = gate.closed(at(2), &mut disk);
    assert!(matches!(gate.outcome(A), Some(Outcome::NotSaved(_))));
    assert!(
        notices.contains(&Notice::Opened(Opened::NoCaller)),
        "{notices:?}"
    );
    assert!(gate.may_accept());
}

#[test]
fn what_is_left_of_a_lock_is_removed_by_the_next_unlock() {
    let (mut gate, mut disk) = open_gate_with(0);
    gate.lock(A, request(Mode::AtOnce), at(0), &mut disk)
        .unwrap();
    disk.full = true;
    let is_left = |notice: &Notice| matches!(notice, Notice::RecordLeft(_));
    assert!(gate.unlock(&mut disk).iter().any(is_left));
    assert!(gate.may_accept(), "clients pass all the same");
    assert!(gate.unlock(&mut disk).iter().any(is_left), "told again");
    disk.full = false;
    assert_eq!(gate.unlock(&mut disk), []);
    assert_eq!(disk.record, None);
}
