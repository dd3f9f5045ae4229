//! What must hold of the gate over random sequences of events.

use proptest::prelude::*;

use super::*;

const CONNECTIONS_MAX: usize = 4;

#[derive(Clone, Debug)]
enum GateEvent {
    Arrival,
    End,
    /// The upstream of a client ends, and the client stays.
    Detach,
    /// A detached client speaks.
    Speak,
    /// A detached client leaves.
    Leave,
    Lock(CallerId, LockRequest),
    Unlock,
    CallerGone(CallerId),
    /// The clock moves by this time.
    Pause(Duration),
    Stop,
    /// The next process starts; whether clients are kept.
    Restart(bool),
    /// A successor takes the place of the process.
    TakeOver,
    /// A connection of the predecessor ends.
    PredecessorEnd,
    /// It passes detached clients on.
    PassedOn,
    DiskFull(bool),
    Target(bool),
}

fn request() -> impl Strategy<Value = LockRequest> {
    let mode = prop_oneof![Just(Mode::AtOnce), Just(Mode::Wait), Just(Mode::Hold)];
    let time = || prop::option::of((0u64..30).prop_map(Duration::from_secs));
    let end = prop::option::of(prop_oneof![Just(LeaseEnd::Open), Just(LeaseEnd::Exit)]);
    let times = (time(), time(), time(), time(), time());
    (mode, times, end).prop_map(
        |(mode, (timeout, progress_timeout, lease, force_after, close_idle), at_lease_end)| {
            LockRequest {
                mode,
                timeout,
                progress_timeout,
                lease,
                at_lease_end,
                force_after,
                close_idle,
                ..WAIT
            }
        },
    )
}

fn event() -> impl Strategy<Value = GateEvent> {
    let caller = || (0u64..4).prop_map(CallerId);
    // Seconds, or years at once (the machine was suspended).
    let pause = prop_oneof![9 => 0u64..15, 1 => Just(1_000_000_000u64)];
    prop_oneof![
        6 => Just(GateEvent::Arrival),
        6 => Just(GateEvent::End),
        4 => Just(GateEvent::Detach),
        4 => Just(GateEvent::Speak),
        1 => Just(GateEvent::Leave),
        3 => (caller(), request()).prop_map(|(caller, request)| GateEvent::Lock(caller, request)),
        2 => Just(GateEvent::Unlock),
        2 => caller().prop_map(GateEvent::CallerGone),
        3 => pause.prop_map(Duration::from_secs).prop_map(GateEvent::Pause),
        1 => Just(GateEvent::Stop),
        2 => any::<bool>().prop_map(GateEvent::Restart),
        2 => Just(GateEvent::TakeOver),
        4 => Just(GateEvent::PredecessorEnd),
        2 => Just(GateEvent::PassedOn),
        1 => any::<bool>().prop_map(GateEvent::DiskFull),
        1 => prop::bool::weighted(0.9).prop_map(GateEvent::Target),
    ]
}

/// A process, and what is known of its world.
struct GateModel {
    gate: TestGate,
    now: Uptime,
    /// Whether the disk may have the record of a lock that is over.
    is_record_left: bool,
}

impl GateModel {
    fn new() -> Self {
        let now = at(1000);
        Self {
            gate: TestGate::new(CONNECTIONS_MAX, Disk::default(), now),
            now,
            is_record_left: false,
        }
    }

    fn step(&mut self, event: GateEvent) {
        let mut notices = self.apply(event);
        let TestGate { gate, disk } = &mut self.gate;
        notices.extend(gate.tick(self.now, disk));
        let is_left = |notice: &Notice| matches!(notice, Notice::RecordLeft(_));
        let is_left = notices.iter().any(is_left);
        self.is_record_left = (self.is_record_left || is_left) && disk.record.is_some();
        if gate.lock.is_some() && !disk.full && disk.record.as_ref() == gate.lock_record() {
            self.is_record_left = false;
        }
        if !is_left && !disk.full {
            // A record that was left may still be there; that of a lock in force is always right.
            let record = gate.lock_record();
            assert!(record.is_none() || disk.record.as_ref() == record);
        }
        check(gate, self.now);
    }

    fn apply(&mut self, event: GateEvent) -> Vec<Notice> {
        let TestGate { gate, disk } = &mut self.gate;
        match event {
            GateEvent::Arrival if gate.may_accept() => gate.accepted(),
            GateEvent::End if gate.own > 0 => return gate.closed(self.now, disk),
            GateEvent::Detach if gate.own > 0 => {
                let connected = gate.connected();
                let notices = gate.detached(self.now, disk);
                assert_eq!(gate.connected(), connected);
                return notices;
            }
            GateEvent::Speak if gate.detached > 0 && gate.may_attach() => {
                let connected = gate.connected();
                gate.attached();
                assert_eq!(gate.connected(), connected);
            }
            GateEvent::Leave if gate.detached > 0 => gate.detached_gone(),
            GateEvent::Arrival
            | GateEvent::End
            | GateEvent::Detach
            | GateEvent::Speak
            | GateEvent::Leave => {}
            GateEvent::Lock(caller, request) => return self.lock(caller, request),
            GateEvent::Unlock => {
                let notices = gate.unlock(disk);
                assert_eq!(gate.state(), GateState::Open);
                return notices;
            }
            GateEvent::CallerGone(caller) => return gate.caller_gone(caller, disk),
            GateEvent::Pause(time) => self.now = self.now + time,
            GateEvent::Stop => gate.stopping(),
            GateEvent::Restart(keeps) => self.restart(keeps),
            GateEvent::TakeOver => self.take_over(),
            GateEvent::PredecessorEnd => {
                let left = gate.open_in_predecessor().saturating_sub(1);
                return gate.predecessor_has(left, self.now, disk);
            }
            GateEvent::PassedOn => {
                let count = gate.open_in_predecessor().min(2);
                let connected = gate.connected();
                let notices = gate.adopt_passed(count, self.now, disk);
                assert_eq!(gate.connected(), connected);
                return notices;
            }
            GateEvent::DiskFull(full) => disk.full = full,
            GateEvent::Target(known) => gate.set_has_target(known),
        }
        Vec::new()
    }

    fn lock(&mut self, caller: CallerId, request: LockRequest) -> Vec<Notice> {
        let TestGate { gate, disk } = &mut self.gate;
        gate.callers.remove(&caller); // a caller has one call at a time
        let before = gate.clone();
        if let Ok(notices) = gate.lock(caller, request, self.now, disk) {
            assert!(disk.record.is_some() || gate.lock.is_none());
            return notices;
        }
        assert_eq!(gate.lock_record(), before.lock_record());
        assert_eq!(gate.callers.len(), before.callers.len());
        // The earlier call of the caller has ended.
        gate.take_back(OpenReason::NoCaller, disk)
    }

    /// Kept locks are found again, and no other lock; and kept clients.
    fn restart(&mut self, keeps: bool) {
        let mut next = TestGate::new(CONNECTIONS_MAX, self.gate.disk.clone(), self.now);
        if keeps {
            next.adopt(self.gate.own);
            next.adopt_detached(self.gate.detached);
        }
        let before = std::mem::replace(&mut self.gate, next);
        if !self.is_record_left {
            assert_eq!(self.gate.lock_record(), before.lock_record());
        }
        self.is_record_left = false;
    }

    /// The count continues, and so does the lock, whose lease ends no successor.
    fn take_over(&mut self) {
        let expected = self.gate.lock_record().map(|record| LockRecord {
            at_lease_end: LeaseEnd::Open,
            ..record.clone()
        });
        let open = self.gate.connected();
        let is_locked = self.gate.lock_record().is_some();
        let may_attach = self.gate.may_attach() || is_locked && self.gate.has_target;
        self.retire();
        assert!(!may_attach || self.gate.may_attach(), "its clients stay");
        let mut next = TestGate::new(CONNECTIONS_MAX, self.gate.disk.clone(), self.now);
        let saved = next.took_over(open);
        assert_eq!(next.open_connections(), open);
        let record = next.lock_record().cloned();
        if let Some(record) = &record {
            assert_eq!(record.at_lease_end, LeaseEnd::Open);
        }
        if !self.is_record_left {
            assert_eq!(&record, &expected);
        }
        if saved.is_err() {
            // It is logged, and repaired by hand.
            next.disk.record = record;
            self.is_record_left = false;
        }
        self.gate = next;
    }

    /// A process that has retired accepts no client and writes nothing.
    fn retire(&mut self) {
        let TestGate { gate, disk } = &mut self.gate;
        gate.retire(false);
        let record = disk.record.clone();
        assert!(!gate.may_accept());
        assert!(gate.tick(self.now + GRACE, disk).is_empty());
        assert!(gate.unlock(disk).is_empty());
        assert_eq!(&disk.record, &record);
    }
}

/// What must hold after every event.
fn check(gate: &Gate, now: Uptime) {
    let record = gate.lock_record();
    let closed = record.is_some()
        || !gate.has_target
        || gate.stopping
        || gate.connected() >= gate.connections_max;
    assert_eq!(gate.may_accept(), !closed);
    let may_attach = record.is_none() && gate.has_target && !gate.stopping;
    assert_eq!(gate.may_attach(), may_attach);
    // A client keeps its place as long as it is connected.
    assert!(gate.connected() <= gate.connections_max);
    assert!(gate.state() != GateState::Locked || gate.open_connections() == 0);
    assert_eq!(gate.state() == GateState::Open, record.is_none());
    for caller in gate.callers.values() {
        match &caller.outcome {
            // It stays true until the gate opens, and the lock is one that stays.
            Some(Outcome::Drained) => {
                assert!(record.is_none_or(|record| record.kept && gate.open_connections() == 0));
            }
            // No caller waits without a lock, or for a drain that is complete.
            None => {
                assert!(record.is_some());
                assert!(caller.hold || gate.open_connections() > 0 || gate.stopping);
            }
            Some(_) => {}
        }
    }
    assert!(gate.close_idle().is_none() || gate.state() == GateState::Draining);
    // A lock that is not kept has callers, or they may still come back.
    if let Some(lock) = &gate.lock {
        let owned = gate.callers() > 0 || lock.grace_until.is_some() || gate.stopping;
        assert!(lock.record.kept || owned);
    }
    // What is due has been done, so that the main loop never spins.
    assert!(gate.next_deadline().is_none_or(|deadline| deadline > now));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_promise_holds_over_any_sequence_of_events(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut model = GateModel::new();
        for event in events {
            model.step(event);
        }
    }
}
