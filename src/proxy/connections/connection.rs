//! One open connection.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::liveness;
use super::served_elsewhere;
use super::stall::Stall;
use crate::interface::ConnectionStatus;
use crate::proxy::keep::{Keep, Slot, Way};
use crate::proxy::relay::Meter;
use crate::proxy::upstream::Connected;
use crate::service::address::Address;
use crate::service::clock::{Uptime, micros};
use crate::service::ending;
use crate::service::handover::ClientSocket;
use crate::service::kernel;
use crate::service::listener::{Arrival, Peer};
use crate::service::stream::Family;

/// Why a connection is ended that would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// Somebody called `CloseConnection`.
    Asked,
    /// A lock did not want to wait any longer for it.
    Forced,
    /// The process that has taken the place of this one has ended, or its lock did not want to wait.
    Successor,
    /// Nothing was carried for the idle timeout.
    Idle,
    /// Bytes waited for the stall timeout, and their receiver took none.
    Stalled,
    /// A peer did not answer for the keepalive time.
    PeerGone,
    /// It was never answered, it leads to an earlier target, and all places were taken.
    Unanswered,
}

impl Abort {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "closed by CloseConnection",
            Self::Forced => "closed by a lock with --force-after",
            Self::Successor => "the process that took over has ended, or forces its drain",
            Self::Idle => "nothing was carried for the idle timeout",
            Self::Stalled => "bytes waited for the stall timeout, and their receiver took none",
            Self::PeerGone => "a peer did not answer for the keepalive time",
            Self::Unanswered => {
                "it was never answered, it leads to an earlier target, and all places were taken"
            }
        }
    }
}

/// One of the two sides of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
}

/// To whom a connection was handed over.
#[derive(Clone, Debug)]
struct ServedBy {
    slot: u32,
    target: Arc<Address>,
}

/// One open connection, from the moment it was accepted.
#[derive(Debug)]
pub struct Connection {
    /// Its number, unique in the process.
    pub id: u64,
    /// The client.
    pub peer: Peer,
    /// What kind of socket it has.
    pub family: Family,
    /// The client's socket.
    pub client: ClientSocket,
    /// Where it is written down so that it outlives the process.
    pub slot: Option<Slot>,
    /// The upstream, once it is connected.
    pub upstream: OnceLock<Connected>,
    /// Who serves it, while that is a process that it was handed over to.
    handed: Mutex<Option<ServedBy>>,
    since: Uptime,
    received: AtomicU64,
    sent: AtomicU64,
    active_usec: AtomicU64,
    /// Towards the upstream, and towards the client.
    stalls: [Stall; 2],
    abort: OnceLock<Abort>,
    aborted: Notify,
    /// Both sides were told of the end.
    finished: AtomicBool,
}

impl Connection {
    /// One that was accepted then, of this number.
    pub(super) fn new(id: u64, client: Arrival, slot: Option<Slot>, since: Uptime) -> Self {
        Self {
            id,
            peer: client.peer,
            family: client.family,
            client: client.socket,
            slot,
            upstream: OnceLock::new(),
            handed: Mutex::default(),
            since,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            active_usec: AtomicU64::new(Uptime::now().as_micros()),
            stalls: Default::default(),
            abort: OnceLock::new(),
            aborted: Notify::new(),
            finished: AtomicBool::new(false),
        }
    }

    /// It has carried so much by now, as its slot says.
    pub(super) fn has_carried(&self, slot: Slot) {
        let [up, down] = Way::BOTH.map(|way| slot.flow(way));
        let received = up.given().saturating_sub(up.prefix_length().into());
        self.received.store(received, Relaxed);
        self.sent.store(down.given(), Relaxed);
    }

    /// Has the connection ended, for this reason. Nobody waits to be told if it was handed over:
    /// then this is the slot whose connection has to be cut.
    pub(super) fn abort(&self, why: Abort) -> Option<u32> {
        // Before whoever hands it over has it written down, or after that.
        let handed = self.handed();
        if self.abort.set(why).is_err() {
            return None;
        }
        self.aborted.notify_one();
        handed.as_ref().map(|handed| handed.slot)
    }

    /// It was handed over. Whether it should have been ended by then.
    pub fn handed_over(&self, slot: u32, target: Arc<Address>) -> bool {
        let mut handed = self.handed();
        *handed = Some(ServedBy { slot, target });
        self.abort.get().is_some()
    }

    /// It is back: what it has carried by now is the count of it. Whether it was not served, so that
    /// it can be handed over again.
    pub fn taken_back(&self) -> bool {
        if self.handed().take().is_none() {
            return false;
        }
        let Some(end) = served_elsewhere::end(&self.client) else {
            return false;
        };
        self.received.store(end.carried.0, Relaxed);
        self.sent.store(end.carried.1, Relaxed);
        end.is_untouched && self.abort.get().is_none()
    }

    fn handed(&self) -> MutexGuard<'_, Option<ServedBy>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is to end, if it is.
    pub fn why_aborted(&self) -> Option<Abort> {
        self.abort.get().copied()
    }

    /// Waits until somebody wants the connection to end.
    pub async fn aborted(&self) -> Abort {
        loop {
            if let Some(why) = self.abort.get() {
                return *why;
            }
            self.aborted.notified().await;
        }
    }

    /// Its upstream is connected. From now on each side sees a reset when its socket is closed, until the
    /// other side's end is passed on to it ([`ending`]).
    pub fn is_connected(&self, connected: Connected) -> &Connected {
        let connected = self.upstream.get_or_init(|| connected);
        self.reset_on_close();
        connected
    }

    /// It goes on with this upstream, and has carried something in an earlier process, which has seen to
    /// how it ends.
    pub fn goes_on_with(&self, connected: Connected) {
        self.upstream.get_or_init(|| connected);
    }

    /// Has both sides see a reset when the connection is closed.
    pub fn reset_on_close(&self) {
        self.sockets().for_each(ending::reset_on_close);
    }

    /// Both sides were told of the end: closing the sockets is all that is left to do.
    pub fn has_finished(&self) {
        self.finished.store(true, Relaxed);
    }

    /// Both sides see the end as closing the only descriptors would show it, although there are copies
    /// of them where connections are kept; and nobody restores it from now on.
    pub fn conclude(&self, keep: Keep) {
        let Some(slot) = self.slot else {
            return;
        };
        if !self.finished.load(Relaxed) {
            let resets = self.sockets().any(ending::is_to_be_reset);
            if resets {
                slot.ending();
            }
            for socket in self.sockets() {
                match ending::is_to_be_reset(socket) {
                    true => ending::end_by_reset(socket),
                    // It fails only on a connection that has ended or is broken.
                    false => _ = ending::end_orderly(socket),
                }
            }
        }
        keep.release(slot);
    }

    fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let upstream = self.upstream.get().map(|upstream| upstream.socket.as_fd());
        std::iter::once(self.client.as_fd()).chain(upstream)
    }

    /// How long it has been open.
    pub fn age(&self, now: Uptime) -> Duration {
        now.since(self.since)
    }

    /// Bytes that came from the client and bytes that went to it.
    pub fn carried(&self) -> (u64, u64) {
        if self.handed().is_some()
            && let Some(carried) = served_elsewhere::carried(&self.client)
        {
            return carried;
        }
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// When it last carried something.
    pub fn active(&self) -> Uptime {
        Uptime::from_micros(self.active_usec.load(Relaxed))
    }

    pub(super) fn idle(&self, now: Uptime) -> Duration {
        if self.handed().is_some() {
            // Where nothing is known of it, it is not idle.
            let quiet = served_elsewhere::quiet(&self.client).unwrap_or_default();
            return quiet.min(self.age(now));
        }
        now.since(self.active())
    }

    /// How long bytes have waited for a receiver that took none.
    pub(super) fn stalled(&self, now: Uptime) -> Duration {
        if self.handed().is_some() {
            // They are for whoever serves it to look after.
            return Duration::ZERO;
        }
        let upstream = self.upstream.get().map(|upstream| upstream.socket.as_fd());
        let (received, sent) = (self.received.load(Relaxed), self.sent.load(Relaxed));
        let ways = [(upstream, received), (Some(self.client.as_fd()), sent)];
        ways.into_iter()
            .zip(&self.stalls)
            .filter_map(|((socket, written), stall)| {
                let waiting = kernel::unacknowledged_bytes(socket?).ok()?;
                Some(stall.look(written, waiting as u64, now))
            })
            .max()
            .unwrap_or_default()
    }

    /// Whether it is connected to another target than this.
    pub(super) fn leads_elsewhere(&self, target: &Address) -> bool {
        let upstream = self.upstream.get();
        upstream.is_some_and(|upstream| *upstream.target != *target)
    }

    pub(super) fn is_gone(&self, limit: Duration) -> bool {
        self.sockets()
            // Another subflow of MPTCP may be well.
            .filter(|socket| kernel::is_tcp(socket))
            .filter_map(|socket| kernel::tcp_info(socket).ok())
            .any(|info| liveness::is_gone(&info, limit))
    }

    pub(super) fn status(&self, now: Uptime) -> ConnectionStatus {
        let (received_bytes, sent_bytes) = self.carried();
        let handed = self.handed().as_ref().map(|handed| handed.target.clone());
        let upstream = self.upstream.get().map(|upstream| upstream.target.clone());
        ConnectionStatus {
            id: self.id,
            peer: self.peer.to_string(),
            upstream: handed.or(upstream).map(|target| target.to_string()),
            age_usec: micros(self.age(now)),
            idle_usec: micros(self.idle(now)),
            received_bytes,
            sent_bytes,
        }
    }
}

/// Counts what a connection carries, at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The moment.
    pub now: Uptime,
}

impl Metered<'_> {
    fn count(&self, counter: &AtomicU64, bytes: usize) {
        // Only the thread that carries the connection counts.
        counter.store(counter.load(Relaxed) + bytes as u64, Relaxed);
        let now = self.now.as_micros();
        self.connection.active_usec.store(now, Relaxed);
    }
}

impl Meter for Metered<'_> {
    fn received(&self, bytes: usize) {
        self.count(&self.connection.received, bytes);
    }

    fn sent(&self, bytes: usize) {
        self.count(&self.connection.sent, bytes);
    }
}
