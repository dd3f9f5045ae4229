//! One open connection.

use std::cmp::Ordering;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::abort::Abort;
use super::served_elsewhere;
use super::traffic::Traffic;
use super::unanswered::CarriedBytes;
use super::unresponsive::is_gone;
use crate::interface::ConnectionStatus;
use crate::proxy::keep::{Keep, Slot};
use crate::proxy::requests::Opaque;
use crate::proxy::upstream::ConnectedUpstream;
use crate::service::address::Address;
use crate::service::client_socket::ClientSocket;
use crate::service::clock::{Uptime, micros};
use crate::service::ending;
use crate::service::kernel;
use crate::service::listener::{Arrival, Peer};
use crate::service::mutex;
use crate::service::stream::Family;

/// The socket of the client, and that of the upstream if there is one.
type BothSockets<'a> = std::iter::Flatten<std::array::IntoIter<Option<BorrowedFd<'a>>, 2>>;

/// The process that a connection was handed over to.
#[derive(Clone, Debug)]
struct HandoverReceiver {
    slot: u32,
    target: Arc<Address>,
}

/// How a connection ends.
#[derive(Debug, Default)]
struct EndState {
    abort: OnceLock<Abort>,
    aborted: Notify,
    /// Whether both sides have seen the end.
    is_complete: AtomicBool,
}

/// One open connection, from the moment it was accepted.
#[derive(Debug)]
pub struct Connection {
    /// Unique in the process.
    pub id: u64,
    pub peer: Peer,
    pub family: Family,
    pub client: ClientSocket,
    /// Its place in the table of kept connections.
    pub slot: Option<Slot>,
    /// While the upstream is connected. The thread that carries the connection has it too, so that it need not lock.
    upstream: Mutex<Option<Arc<ConnectedUpstream>>>,
    /// Set while it is handed over.
    receiver: Mutex<Option<HandoverReceiver>>,
    since: Uptime,
    traffic: Traffic,
    end: EndState,
    /// Whether the gate counts it as detached; changed while the gate's mutex is locked.
    is_detached: AtomicBool,
    /// Why its requests cannot be recognised; 0 if they can, or nobody looks.
    opaque: AtomicU8,
}

impl Connection {
    pub(super) fn new(id: u64, client: Arrival, slot: Option<Slot>, since: Uptime) -> Self {
        let traffic = Traffic::default();
        traffic.set_active(Uptime::now());
        Self {
            id,
            peer: client.peer,
            family: client.family,
            client: client.socket,
            slot,
            upstream: Mutex::default(),
            receiver: Mutex::default(),
            since,
            traffic,
            end: EndState::default(),
            is_detached: AtomicBool::new(false),
            opaque: AtomicU8::new(0),
        }
    }

    /// Continues counting from what `slot` says.
    pub(super) fn continue_from(&self, slot: Slot) {
        let carried = slot.carried();
        self.traffic.set_carried(carried);
        // What was written down last may be missing; the kernel has the times, though not exact ones.
        let info = kernel::tcp_info(&self.client).unwrap_or_default();
        self.traffic.awaits_reply.store(
            match info.received_ms.cmp(&info.sent_ms) {
                Ordering::Less => carried.0 > 0,
                Ordering::Equal => slot.awaits_reply(),
                Ordering::Greater => false,
            },
            Relaxed,
        );
        // So that a process that is replaced often does not take every connection for active.
        let quiet = Duration::from_millis(info.received_ms.min(info.sent_ms).into());
        let active = Uptime::now().as_micros().saturating_sub(micros(quiet));
        self.traffic.set_active(Uptime::from_micros(active));
    }

    /// Continues counting from what another process has carried, at last at this moment.
    pub(super) fn continue_as(&self, carried: CarriedBytes, active: Uptime) {
        self.traffic.set_carried(carried);
        self.traffic.set_active(active);
    }

    /// Requests the end of the connection. Returns the handover slot to be cut if the connection is handed over: then
    /// nothing here waits for [`Self::aborted`].
    pub(super) fn abort(&self, why: Abort) -> Option<u32> {
        // Locked first: a handover sees either the reason, or has its slot in place.
        let receiver = self.receiver();
        if self.end.abort.set(why).is_err() {
            return None;
        }
        self.end.aborted.notify_one();
        receiver.as_ref().map(|receiver| receiver.slot)
    }

    /// The connection was handed over. Returns whether it is to end.
    pub fn set_handed_over(&self, slot: u32, target: Arc<Address>) -> bool {
        *self.receiver() = Some(HandoverReceiver { slot, target });
        self.abort_reason().is_some()
    }

    /// The receiver is done with the connection. Returns whether it was not served, and can be handed over again.
    pub fn end_handover(&self) -> bool {
        if self.receiver().take().is_none() {
            return false;
        }
        let Some(end) = served_elsewhere::end(&self.client) else {
            return false;
        };
        self.traffic.set_carried(end.carried);
        end.is_untouched && self.abort_reason().is_none()
    }

    fn receiver(&self) -> MutexGuard<'_, Option<HandoverReceiver>> {
        mutex::lock(&self.receiver)
    }

    /// Why it is to end, if it is.
    pub fn abort_reason(&self) -> Option<Abort> {
        self.end.abort.get().copied()
    }

    /// Waits until the connection is to end.
    pub async fn aborted(&self) -> Abort {
        loop {
            if let Some(why) = self.abort_reason() {
                return why;
            }
            self.end.aborted.notified().await;
        }
    }

    /// The upstream is connected. From now on each side sees a reset when its socket is closed, until the
    /// end of the other side is passed on to it ([`ending`]).
    pub fn set_upstream(&self, connected: ConnectedUpstream) -> Arc<ConnectedUpstream> {
        let connected = self.restore_upstream(connected);
        self.reset_on_close();
        connected
    }

    /// The upstream was connected by an earlier process, which has also prepared how the connection ends.
    pub fn restore_upstream(&self, connected: ConnectedUpstream) -> Arc<ConnectedUpstream> {
        let connected = Arc::new(connected);
        *self.lock_upstream() = Some(Arc::clone(&connected));
        connected
    }

    /// Takes the upstream out, so that the connection has none.
    pub fn take_upstream(&self) -> Option<Arc<ConnectedUpstream>> {
        self.lock_upstream().take()
    }

    pub fn upstream(&self) -> Option<Arc<ConnectedUpstream>> {
        self.lock_upstream().clone()
    }

    fn lock_upstream(&self) -> MutexGuard<'_, Option<Arc<ConnectedUpstream>>> {
        mutex::lock(&self.upstream)
    }

    /// Whether it waits for an upstream.
    pub(super) fn is_connecting(&self) -> bool {
        !self.is_detached() && self.receiver().is_none() && self.lock_upstream().is_none()
    }

    /// Whether the client stays although its upstream was ended.
    pub fn is_detached(&self) -> bool {
        self.is_detached.load(Relaxed)
    }

    /// In one step with the gate.
    pub(in crate::proxy::admission) fn set_detached(&self, is_detached: bool) {
        self.is_detached.store(is_detached, Relaxed);
    }

    /// Its requests cannot be recognised from now on, for this reason.
    pub fn set_opaque(&self, why: Opaque) {
        self.opaque.store(why.code(), Relaxed);
    }

    /// Why its requests cannot be recognised, so that it is never detached.
    pub fn opaque(&self) -> Option<Opaque> {
        Opaque::of(self.opaque.load(Relaxed))
    }

    /// From now on closing the connection resets both sides.
    pub fn reset_on_close(&self) {
        self.with_sockets(|sockets| sockets.for_each(ending::reset_on_close));
    }

    /// Both sides have seen the end: only the sockets are left to be closed.
    pub fn set_complete(&self) {
        self.end.is_complete.store(true, Relaxed);
    }

    /// Ends the connection for both sides although systemd has copies of the sockets, and removes it from
    /// the table.
    pub fn conclude(&self, keep: Keep) {
        let Some(slot) = self.slot else {
            return;
        };
        if !self.end.is_complete.load(Relaxed) {
            if self.with_sockets(|mut sockets| sockets.any(ending::is_to_be_reset)) {
                slot.set_ending();
            }
            self.with_sockets(|sockets| sockets.for_each(conclude));
        }
        keep.release(slot);
    }

    /// Calls `what` with the sockets of both sides; the upstream stays in its place meanwhile.
    fn with_sockets<R>(&self, what: impl FnOnce(BothSockets<'_>) -> R) -> R {
        let upstream = self.lock_upstream();
        let upstream = upstream.as_ref().map(|upstream| upstream.socket.as_fd());
        what([Some(self.client.as_fd()), upstream].into_iter().flatten())
    }

    pub fn age(&self, now: Uptime) -> Duration {
        now.since(self.since)
    }

    /// Bytes from the client and bytes to it.
    pub fn carried(&self) -> CarriedBytes {
        let elsewhere = match *self.receiver() {
            Some(_) => served_elsewhere::carried(&self.client),
            None => None,
        };
        elsewhere.unwrap_or_else(|| self.traffic.carried())
    }

    /// Counts bytes from the client, and then bytes to it.
    pub fn count(&self, received: usize, sent: usize, now: Uptime) {
        if received + sent == 0 {
            return;
        }
        let traffic = &self.traffic;
        for (counter, bytes) in [(&traffic.received, received), (&traffic.sent, sent)] {
            // Only the thread that carries the connection counts.
            counter.store(counter.load(Relaxed) + bytes as u64, Relaxed);
        }
        let awaits_reply = sent == 0;
        if traffic.awaits_reply.load(Relaxed) != awaits_reply {
            traffic.awaits_reply.store(awaits_reply, Relaxed);
            if let Some(slot) = self.slot {
                slot.set_awaits_reply(awaits_reply);
            }
        }
        traffic.set_active(now);
    }

    pub fn active(&self) -> Uptime {
        Uptime::from_micros(self.traffic.active_usec.load(Relaxed))
    }

    /// Whether the client has sent something and nothing was sent to it since.
    pub fn awaits_reply(&self) -> bool {
        self.traffic.awaits_reply.load(Relaxed)
    }

    pub(super) fn idle(&self, now: Uptime) -> Duration {
        if self.receiver().is_some() {
            // Without information it does not count as idle.
            let quiet = served_elsewhere::quiet(&self.client).unwrap_or_default();
            return quiet.min(self.age(now));
        }
        now.since(self.active())
    }

    /// How long bytes have waited for a peer that took none; zero while the connection is handed over.
    pub(super) fn stalled(&self, now: Uptime) -> Duration {
        if self.receiver().is_some() {
            return Duration::ZERO;
        }
        let (received, sent) = self.traffic.carried();
        let upstream = self.lock_upstream();
        let upstream = upstream.as_deref().map(|upstream| upstream.socket.as_fd());
        let ways = [(upstream, received), (Some(self.client.as_fd()), sent)];
        let stalls = ways.into_iter().zip(&self.traffic.stalls);
        stalls
            .filter_map(|((socket, written), stall)| {
                // Where there is no upstream, nothing waits for it.
                let waiting = socket.map_or(Ok(0), kernel::unacknowledged_bytes).ok()?;
                Some(stall.look(written, waiting as u64, now))
            })
            .max()
            .unwrap_or_default()
    }

    /// Whether it is connected to another target.
    pub(super) fn leads_elsewhere(&self, target: &Address) -> bool {
        let upstream = self.lock_upstream();
        upstream
            .as_ref()
            .is_some_and(|upstream| *upstream.target != *target)
    }

    pub(super) fn is_gone(&self, limit: Duration) -> bool {
        self.with_sockets(|sockets| {
            sockets
                // Another subflow of MPTCP may be alive.
                .filter(|socket| kernel::is_tcp(socket))
                .filter_map(|socket| kernel::tcp_info(socket).ok())
                .any(|info| is_gone(&info, limit))
        })
    }

    pub(in crate::proxy::admission) fn status(&self, now: Uptime) -> ConnectionStatus {
        let (received_bytes, sent_bytes) = self.carried();
        let receiver = self.receiver().clone();
        let target = match receiver {
            Some(receiver) => Some(receiver.target),
            None => self
                .lock_upstream()
                .as_ref()
                .map(|upstream| Arc::clone(&upstream.target)),
        };
        ConnectionStatus {
            id: self.id,
            peer: self.peer.to_string(),
            upstream: target.as_deref().map(ToString::to_string),
            age_usec: micros(self.age(now)),
            idle_usec: micros(self.idle(now)),
            received_bytes,
            sent_bytes,
            detached: self.is_detached(),
            opaque: self.opaque().map(|why| why.to_string()),
        }
    }
}

/// Ends the connection for this side although systemd has a copy of its socket.
fn conclude(socket: BorrowedFd<'_>) {
    match ending::is_to_be_reset(socket) {
        true => ending::end_by_reset(socket),
        // It fails only on a connection that has ended or is broken.
        false => _ = ending::end_orderly(socket),
    }
}
