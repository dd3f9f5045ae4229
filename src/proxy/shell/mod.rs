//! The gate in the world: the one place where it is asked, told, and acted upon.

mod handover;
mod held;
mod status;
mod succession;
mod target;
mod threads;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub(in crate::proxy) use held::Held;
pub use target::SetTargetError;
pub(in crate::proxy) use target::first_target;
pub(in crate::proxy) use threads::Leaving;

use super::connections::{Abort, Connection, Connections, Limits};
use super::event;
use super::gate::{CallerId, Gate, LockRequest, LockStore, Mode, Notice, Outcome};
use super::handover::Handover;
use super::keep::Keep;
use super::keeping::Unparked;
use super::last_will::LastWill;
use super::notices;
use super::proxy_header::ProxyProtocol;
use super::sources::Source;
use super::state::{LockDirectory, TargetFile};
use super::upstream::Connector;
use super::workers::Workers;
use crate::interface::{GateState, LeaseEnd};
use crate::service::address::Address;
use crate::service::clock::{self, Uptime};
use crate::service::ending;
use crate::service::listener::{Arrival, Listener};
use crate::service::words::{clause, count};

/// What the kernel holds for connections that have ended goes after so many ends, or after twice as many
/// as are open if that is more: so the work for each is bounded. Soon, while it is still warm.
const TIDY_AFTER: u64 = 64;

/// What the proxy is told once, at its start.
#[derive(Debug)]
pub struct Settings {
    /// Whether the target came with the command line, so that it cannot be changed.
    pub target_fixed: bool,
    /// How long a client waits for an upstream that does not answer; `None`: as long as it wants.
    pub connect_timeout: Option<Duration>,
    /// End a connection that carried nothing for so long.
    pub idle_timeout: Option<Duration>,
    /// End a connection whose bytes have waited for so long for a receiver that took none.
    pub stall_timeout: Option<Duration>,
    /// The most connections of one source.
    pub connections_max_per_source: Option<usize>,
    /// Take a peer that does not answer for so long for gone.
    pub keepalive: Option<Duration>,
    /// Tell the upstream who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
}

impl Settings {
    /// Why the proxy cannot lead to `target`, if it cannot.
    pub fn contradiction(&self, target: &Address) -> Option<&'static str> {
        let handover = matches!(target, Address::Handover(_));
        (handover && self.proxy_protocol.is_some()).then_some(
            "clients that are handed over cannot be announced by --proxy-protocol: whoever serves \
             them has their own sockets, and sees who they are; leave one of the two away",
        )
    }
}

/// A proxy that is running.
#[derive(Debug)]
pub struct Proxy {
    pub(super) settings: Settings,
    pub(super) connections: Connections,
    pub(super) connector: Connector,
    pub(super) handover: Handover,
    listeners: Mutex<Arc<[Listener]>>,
    gate: Mutex<held::Guarded>,
    workers: OnceLock<Workers>,
    keep: Option<Keep>,
    pub(super) unparked: Unparked,
    pub(super) last_will: LastWill,
    is_leaving: AtomicBool,
    /// Connections that have ended since the last tidying up.
    ended: AtomicU64,
    failure: OnceLock<String>,
    target: Mutex<Option<Arc<Address>>>,
    pub(super) target_file: TargetFile,
    unreachable: AtomicU64,
    callers: AtomicU64,
    queue_full: AtomicBool,
    swept_usec: AtomicU64,
    /// Whether the accept loop knows that the count of connections has changed.
    count_told: AtomicBool,
    /// Wakes the accept loop.
    pub(super) woken: Notify,
    /// Wakes control callers.
    changes: watch::Sender<()>,
    /// Has the process that was taken over cut its connections.
    cut_predecessor: Notify,
}

impl Proxy {
    /// A proxy with what an earlier process has left: its lock and its target.
    pub fn new(
        settings: Settings,
        listeners: Arc<[Listener]>,
        connections_max: usize,
        lock: LockDirectory,
        target: Option<Address>,
        target_file: TargetFile,
        handover: Handover,
    ) -> Self {
        let mut gate = Gate::new(connections_max, lock.load(), Uptime::now());
        gate.set_has_target(target.is_some());
        if let Some(record) = gate.lock_record() {
            let reason = record.reason.as_deref().unwrap_or("no reason given");
            tracing::info!(GATE = "locked", "locked by an earlier process: {reason}");
        }
        let connector = Connector::new(settings.keepalive, target.as_ref(), &listeners);
        Self {
            connections: Connections::new(settings.connections_max_per_source),
            settings,
            connector,
            handover,
            listeners: Mutex::new(listeners),
            gate: Mutex::new(held::Guarded::new(gate, lock)),
            workers: OnceLock::new(),
            keep: None,
            unparked: Unparked::default(),
            last_will: LastWill::default(),
            is_leaving: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            failure: OnceLock::new(),
            count_told: AtomicBool::new(false),
            target: Mutex::new(target.map(Arc::new)),
            target_file,
            unreachable: AtomicU64::new(0),
            callers: AtomicU64::new(0),
            queue_full: AtomicBool::new(false),
            swept_usec: AtomicU64::new(0),
            woken: Notify::new(),
            changes: watch::Sender::new(()),
            cut_predecessor: Notify::new(),
        }
    }

    fn listeners_mut(&self) -> MutexGuard<'_, Arc<[Listener]>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The listening sockets; none once another process has them.
    pub(super) fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&self.listeners_mut())
    }

    /// Runs `f` on the gate, as one step, and acts on what came of it. Whoever waits for a change is
    /// woken only by one: the accept loop calls this in every turn.
    fn with_gate<T>(&self, f: impl FnOnce(&mut Gate, &mut dyn LockStore) -> (T, Vec<Notice>)) -> T {
        let mut held = self.gate();
        let (gate, store) = held.parts();
        let before = Seen::of(gate);
        let (result, notices) = f(gate, store);
        let after = Seen::of(gate);
        if !notices.is_empty() {
            let now = gate.clone();
            drop(held);
            self.act(&notices, &now);
        } else {
            drop(held);
        }
        if before != after || !notices.is_empty() {
            // The loop sleeps through connections that end, unless they change something for it.
            if before.for_loop() != after.for_loop() || !notices.is_empty() {
                self.woken.notify_one();
            }
            if after.state != GateState::Open || self.changes.receiver_count() > 0 {
                self.changes.send_replace(());
            }
        }
        result
    }

    /// The gate, to look at it or to let a client in.
    pub(super) fn gate(&self) -> Held<'_> {
        // Nobody panics while holding it but for a bug in the gate; going on is the better half.
        Held::new(self.gate.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn act(&self, notices: &[Notice], gate: &Gate) {
        let queued = self.queued();
        for notice in notices {
            notices::tell(notice, gate, queued);
            match notice {
                Notice::Force => self.cut_all(Abort::Forced),
                Notice::Opened(_) => self.queue_full.store(false, Relaxed),
                Notice::Locked | Notice::Drained | Notice::Ended | Notice::RecordLeft(_) => {}
            }
        }
    }

    /// A connection has ended, and both its sockets are closed.
    pub(super) fn closed(&self) {
        let open = self.with_gate(|gate, store| {
            let notices = gate.closed(Uptime::now(), store);
            (gate.open(), notices)
        });
        self.count_changed();
        if let Some(keep) = self.keep {
            let ended = self.ended.fetch_add(1, Relaxed) + 1;
            if ended >= TIDY_AFTER.max(2 * open as u64) {
                self.ended.store(0, Relaxed);
                keep.tidy();
            }
        }
    }

    /// No client is accepted any more.
    pub(super) fn stop_accepting(&self) {
        self.gate().0.stopping();
    }

    /// Does what is due; tells when the next thing will be.
    pub(super) fn gate_tick(&self, now: Uptime) -> Option<Uptime> {
        self.with_gate(|gate, store| {
            let notices = gate.tick(now, store);
            (gate.next_deadline(), notices)
        })
    }

    /// Ends connections that are idle or stalled for too long or whose peer is gone; tells when to look
    /// again.
    pub(super) fn sweep(&self, now: Uptime) -> Option<Uptime> {
        let Settings {
            idle_timeout,
            stall_timeout,
            keepalive,
            ..
        } = self.settings;
        let all = [idle_timeout, stall_timeout, keepalive];
        let shortest = all.into_iter().flatten().min()?;
        if self.gate().0.open() == 0 {
            return None;
        }
        // Eight looks until the time is over; the last but one decides, so that it is not late.
        let every = (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(15));
        let last = Uptime::from_micros(self.swept_usec.load(Relaxed));
        if now < last + every {
            return Some(last + every);
        }
        self.swept_usec.store(now.as_micros(), Relaxed);
        let early = |limit: Duration| limit - limit / 8;
        let limits = Limits {
            idle: idle_timeout,
            stalled: stall_timeout.map(early),
            silent: keepalive.map(early),
        };
        self.connections.sweep(now, limits);
        Some(now + every)
    }

    /// A number for a caller of [`Self::lock`].
    pub fn new_caller(&self) -> CallerId {
        CallerId(self.callers.fetch_add(1, Relaxed))
    }

    /// Closes the gate, see [`Gate::lock`].
    ///
    /// # Errors
    ///
    /// When the lock could not be written down.
    pub fn lock(
        &self,
        caller: CallerId,
        mode: Mode,
        reason: Option<String>,
        times: LockTimes,
    ) -> io::Result<()> {
        let request = LockRequest {
            mode,
            reason,
            realtime_usec: clock::realtime_micros(),
            timeout: times.timeout,
            progress_timeout: times.progress_timeout,
            lease: times.lease,
            at_lease_end: times.at_lease_end,
            force_after: times.force_after,
        };
        self.with_gate(
            |gate, store| match gate.lock(caller, request, Uptime::now(), store) {
                Ok(notices) => (Ok(()), notices),
                Err(error) => (Err(error), Vec::new()),
            },
        )
    }

    /// Opens the gate.
    pub fn unlock(&self) {
        self.with_gate(|gate, store| ((), gate.unlock(store)));
    }

    /// How the wait of a caller ended.
    pub fn outcome(&self, caller: CallerId) -> Option<Outcome> {
        self.gate().0.outcome(caller).cloned()
    }

    /// A caller has its answer, or has gone.
    pub fn caller_gone(&self, caller: CallerId) {
        self.with_gate(|gate, store| ((), gate.caller_gone(caller, store)));
    }

    /// A client was given up.
    pub(super) fn count_unreachable(&self, connection: &Connection, why: &dyn std::fmt::Display) {
        self.unreachable.fetch_add(1, Relaxed);
        let target = self
            .target()
            .map(|target| target.to_string())
            .unwrap_or_default();
        tracing::warn!(
            MESSAGE_ID = event::UNREACHABLE, CONNECTION_ID = connection.id,
            PEER = %connection.peer, UPSTREAM = target, ERROR = %why,
            "client {} was given up: {why}", connection.peer
        );
    }

    /// Resets a client whose source has as many connections as it may, so that others do not wait behind
    /// it.
    pub(super) fn refuse(&self, client: Arrival, source: Source, open: usize) {
        ending::reset_on_close(&client.socket);
        let Some(refused) = self.connections.refuse(Uptime::now()) else {
            return;
        };
        let Arrival { peer, .. } = client;
        tracing::warn!(
            MESSAGE_ID = event::REFUSED, PEER = %peer, SOURCE = %source, OPEN = open, REFUSED = refused,
            "client {peer} was reset: {source} has {}, as many as --connections-max-per-source allows \
             ({} so since this was said the last time)",
            count(open, "open connection"),
            clause(refused, "client", ("was reset", "were reset"))
        );
    }

    /// Tells of every change of state.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// What can be seen of the gate from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: GateState,
    open: usize,
    callers: usize,
    may_accept: bool,
    deadline: Option<Uptime>,
}

impl Seen {
    fn of(gate: &Gate) -> Self {
        Self {
            state: gate.state(),
            open: gate.open(),
            callers: gate.callers(),
            may_accept: gate.may_accept(),
            deadline: gate.next_deadline(),
        }
    }

    /// What the accept loop decides by.
    fn for_loop(&self) -> (bool, bool, Option<Uptime>) {
        (self.may_accept, self.open == 0, self.deadline)
    }
}

/// The times that a caller of [`Proxy::lock`] gives; all are optional.
#[derive(Clone, Copy, Debug, Default)]
pub struct LockTimes {
    /// Give up when the drain takes longer.
    pub timeout: Option<Duration>,
    /// Give up when nobody has left for so long.
    pub progress_timeout: Option<Duration>,
    /// The longest time the lock may last.
    pub lease: Option<Duration>,
    /// What is to happen then.
    pub at_lease_end: Option<LeaseEnd>,
    /// Close by force what is still open after this time.
    pub force_after: Option<Duration>,
}
