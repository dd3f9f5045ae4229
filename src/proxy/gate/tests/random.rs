//! The laws of the gate, over random sequences of events.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Arrive,
    Close,
    Lock {
        caller: u64,
        mode: Mode,
        timeout: Option<u64>,
        progress: Option<u64>,
        lease: Option<u64>,
        force: Option<u64>,
        end: Option<LeaseEnd>,
    },
    Unlock,
    Gone(u64),
    Pass(u64),
    Stop,
    Restart,
    /// A successor takes the place of the process.
    TakeOver,
    /// A connection of the process that was taken over ends.
    PredecessorCloses,
    DiskFull(bool),
    Target(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let mode = prop_oneof![Just(Mode::AtOnce), Just(Mode::Wait), Just(Mode::Hold)];
    let time = || prop::option::of(0u64..30);
    let end = prop::option::of(prop_oneof![Just(LeaseEnd::Open), Just(LeaseEnd::Exit)]);
    prop_oneof![
        6 => Just(Event::Arrive),
        6 => Just(Event::Close),
        3 => (0u64..4, mode, time(), time(), time(), time(), end).prop_map(
            |(caller, mode, timeout, progress, lease, force, end)| {
                Event::Lock { caller, mode, timeout, progress, lease, force, end }
            }
        ),
        2 => Just(Event::Unlock),
        2 => (0u64..4).prop_map(Event::Gone),
        // The clock moves: seconds, or years at once (the machine was suspended).
        3 => prop_oneof![9 => 0u64..15, 1 => Just(1_000_000_000u64)].prop_map(Event::Pass),
        1 => Just(Event::Stop),
        2 => Just(Event::Restart),
        2 => Just(Event::TakeOver),
        4 => Just(Event::PredecessorCloses),
        1 => any::<bool>().prop_map(Event::DiskFull),
        1 => prop::bool::weighted(0.9).prop_map(Event::Target),
    ]
}

/// Everything that must hold after every single event.
fn check(gate: &Gate, disk: &Disk, now: Uptime, notices: &[Notice]) -> Result<(), TestCaseError> {
    let record = gate.lock_record();
    // Whoever is not told to wait finds an open gate with room, and the other way round.
    let closed = record.is_some()
        || !gate.has_target
        || gate.stopping
        || gate.open() >= gate.connections_max;
    prop_assert_eq!(gate.may_accept(), !closed);
    prop_assert_eq!(gate.state() == GateState::Open, record.is_none());
    // What the next process finds is what this one does, unless it was told otherwise.
    let left = notices
        .iter()
        .any(|notice| matches!(notice, Notice::RecordLeft(_)));
    if !left && !disk.full {
        // A record left behind earlier may still be there; a lock in force never differs.
        prop_assert!(record.is_none() || disk.record.as_ref() == record);
    }
    for caller in gate.callers.values() {
        match &caller.outcome {
            // Told that nobody is connected any more: it is so until the gate is opened, and the
            // lock is one that stays.
            Some(Outcome::Drained) => {
                prop_assert!(record.is_none_or(|record| record.kept && gate.open() == 0));
            }
            // Nobody waits for a lock that is not there, nor for a drain that is complete.
            None => {
                prop_assert!(record.is_some());
                prop_assert!(caller.hold || gate.open() > 0 || gate.stopping);
            }
            Some(_) => {}
        }
    }
    // A lock belongs to somebody: to a caller, to the one who unlocks, or to whoever comes back.
    if let Some(lock) = &gate.lock {
        let owned = gate.callers() > 0 || lock.grace_until.is_some() || gate.stopping;
        prop_assert!(lock.record.kept || owned);
    }
    // What is due has been done: the clock never spins.
    prop_assert!(gate.next_deadline().is_none_or(|deadline| deadline > now));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_promise_holds_over_any_sequence_of_events(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut now = at(1000);
        let mut disk = Disk::default();
        let mut gate = Gate::new(4, None, now);
        gate.set_has_target(true);
        let mut left_behind = false;
        for event in events {
            let before = gate.clone();
            let mut notices = match event {
                Event::Arrive => {
                    if gate.may_accept() {
                        gate.accepted();
                    }
                    Vec::new()
                }
                Event::Close if gate.own > 0 => gate.closed(now, &mut disk),
                Event::Close => Vec::new(),
                Event::Lock { caller, mode, timeout, progress, lease, force, end } => {
                    let seconds = |time: Option<u64>| time.map(Duration::from_secs);
                    let request = LockRequest {
                        timeout: seconds(timeout),
                        progress_timeout: seconds(progress),
                        lease: seconds(lease),
                        at_lease_end: end,
                        force_after: seconds(force),
                        ..request(mode)
                    };
                    let id = CallerId(caller);
                    gate.callers.remove(&id); // a caller calls once at a time
                    let callers = gate.callers.len();
                    match gate.lock(id, request, now, &mut disk) {
                        Ok(notices) => {
                            prop_assert!(disk.record.is_some() || gate.lock.is_none());
                            notices
                        }
                        Err(_) => {
                            prop_assert_eq!(gate.lock_record(), before.lock_record());
                            prop_assert_eq!(gate.callers.len(), callers);
                            // Its place was freed by the removal above.
                            gate.take_back(Opened::NoCaller, &mut disk)
                        }
                    }
                }
                Event::Unlock => {
                    let notices = gate.unlock(&mut disk);
                    prop_assert_eq!(gate.state(), GateState::Open);
                    notices
                }
                Event::Gone(caller) => gate.caller_gone(CallerId(caller), &mut disk),
                Event::Pass(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    Vec::new()
                }
                Event::Stop => {
                    gate.stopping();
                    Vec::new()
                }
                Event::Restart => {
                    gate = Gate::new(4, disk.record.clone(), now);
                    gate.set_has_target(true);
                    // Kept locks are found again; no lock comes from nowhere.
                    if !left_behind {
                        prop_assert_eq!(gate.lock_record(), before.lock_record());
                    }
                    left_behind = false;
                    Vec::new()
                }
                Event::TakeOver => {
                    let open = gate.open();
                    gate.retire();
                    let record = disk.record.clone();
                    prop_assert!(!gate.may_accept());
                    prop_assert!(gate.tick(now + GRACE, &mut disk).is_empty());
                    prop_assert!(gate.unlock(&mut disk).is_empty());
                    prop_assert!(disk.record == record, "a retired process wrote something down");
                    gate = Gate::new(4, record, now);
                    gate.set_has_target(true);
                    let written = gate.took_over(open, &mut disk);
                    // The count goes on, and so does the lock, whose lease ends no successor.
                    prop_assert_eq!(gate.open(), open);
                    if let Some(record) = gate.lock_record() {
                        prop_assert_eq!(record.at_lease_end, LeaseEnd::Open);
                    }
                    if !left_behind {
                        let expected = before.lock_record().map(|record| LockRecord {
                            at_lease_end: LeaseEnd::Open,
                            ..record.clone()
                        });
                        prop_assert_eq!(gate.lock_record(), expected.as_ref());
                    }
                    if written.is_err() {
                        // It was told, and somebody does it by hand.
                        disk.record = gate.lock_record().cloned();
                        left_behind = false;
                    }
                    Vec::new()
                }
                Event::PredecessorCloses => {
                    let left = gate.open_in_predecessor().saturating_sub(1);
                    gate.predecessor_has(left, now, &mut disk)
                }
                Event::DiskFull(full) => {
                    disk.full = full;
                    Vec::new()
                }
                Event::Target(known) => {
                    gate.set_has_target(known);
                    Vec::new()
                }
            };
            notices.extend(gate.tick(now, &mut disk));
            left_behind |= notices.iter().any(|notice| matches!(notice, Notice::RecordLeft(_)));
            left_behind &= disk.record.is_some();
            if gate.lock.is_some() && !disk.full && disk.record.as_ref() == gate.lock_record() {
                left_behind = false;
            }
            check(&gate, &disk, now, &notices)?;
        }
    }
}
