//! A connection, as the thread that carries it has it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::proxy::admission::{AdmittedClient, Connection, RestOfRequest, UnansweredRequest};
use crate::proxy::keep::{RestoredFlow, Slot, SlotSockets, Way};
use crate::proxy::relay::{self, Ready, Relay};
use crate::proxy::requests::RequestKind;
use crate::proxy::route::Route;
use crate::proxy::upstream::ConnectedUpstream;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::kernel::has_unread;
use crate::service::listener::Peer;
use crate::service::socket::local_address;
use crate::service::stream::{Family, take_error};

/// From this age on a connection is not taken for one of a single request.
const INTERACTIVE_FROM: Duration = Duration::from_millis(100);

/// A client whose upstream is connected or is about to be, or that stays without one.
#[derive(Debug)]
pub(super) struct CarriedConnection {
    /// The upstream that the connection has, so that no turn has to lock.
    pub(super) upstream: Option<Arc<ConnectedUpstream>>,
    /// Dropped before the relay: as long as the connection is kept, what the relay holds has no other owner.
    pub(super) admitted: AdmittedClient,
    pub(super) relay: Relay,
    /// An upstream that has yet to answer.
    pending_upstream: Option<Box<ConnectedUpstream>>,
    /// Whether it has another turn to come.
    pub(super) is_queued: bool,
    /// Whether it was of the queue of the thread that gets it, and the runtime has connected it.
    pub(super) is_of_queue: bool,
    /// Distinguishes it from earlier connections with its key.
    pub(super) generation: u32,
}

impl CarriedConnection {
    /// A connection whose upstream is connected.
    pub(super) fn relaying(admitted: AdmittedClient, route: &Route) -> Self {
        let mut carried = Self::silent(admitted, None, route);
        carried.announce(route);
        carried
    }

    /// A client that stays without an upstream. One that it still has is ended in order.
    pub(super) fn detached(admitted: AdmittedClient, route: &Route) -> Self {
        let mut carried = Self::silent(admitted, None, route);
        if carried.upstream.is_some() {
            carried.end_upstream(route);
        }
        carried
    }

    /// A connection of another process.
    pub(super) fn restored(
        admitted: AdmittedClient,
        slot: Slot,
        flows: [RestoredFlow; 2],
        route: &Route,
    ) -> Self {
        let mut carried = Self::silent(admitted, None, route);
        let (client, upstream) = (carried.relay.client, carried.relay.upstream);
        carried.relay = Relay::restored(client, upstream, slot, flows, route.settings.requests);
        if !slot.flow(Way::Up).has_begun() {
            carried.announce(route);
        }
        carried
    }

    /// A connection whose upstream has yet to answer.
    pub(super) fn connecting(
        admitted: AdmittedClient,
        upstream: ConnectedUpstream,
        route: &Route,
    ) -> Self {
        Self::silent(admitted, Some(upstream), route)
    }

    /// A connection whose upstream was sent nothing yet.
    fn silent(admitted: AdmittedClient, pending: Option<ConnectedUpstream>, route: &Route) -> Self {
        let connection = admitted.connection();
        let upstream = connection.upstream();
        let any = pending.as_ref().or(upstream.as_deref());
        let family = any.map_or(Family::Other, |upstream| upstream.target.family());
        let (client, side) = (Ready::new(connection.family), Ready::new_with_delay(family));
        Self {
            relay: Relay::new(client, side, connection.slot, route.settings.requests),
            upstream,
            admitted,
            pending_upstream: pending.map(Box::new),
            is_queued: false,
            is_of_queue: false,
            generation: 0,
        }
    }

    /// Makes the relay send the PROXY header first, if there is one, and a request that has to be sent again.
    fn announce(&mut self, route: &Route) {
        let request = std::mem::take(&mut self.admitted.request);
        let header = self.header(route);
        let bytes = request.bytes();
        if header.is_empty() && bytes.is_empty() {
            return;
        }
        let kind = route.settings.requests.map_or(0, RequestKind::code);
        let is_of_other_kind = request.is_of_other_kind(kind);
        let requests = self.relay.announce(&header, bytes, is_of_other_kind);
        if bytes.is_empty() {
            return;
        }
        if let Some(slot) = self.connection().slot {
            slot.begin_repeated(bytes.len() as u64, requests);
        }
    }

    /// Before the upstream is ended: what the client has said and the upstream has not got, or has not answered, is for
    /// the next one. From now on it outlives the process.
    pub(super) fn keep_request(&mut self, route: &Route) {
        let held = self.relay.held();
        let request = self.relay.take_request();
        if request.is_empty() {
            return;
        }
        // Another upstream will get them in front, which counts no more.
        self.connection().count(held, 0, Uptime::now());
        let slot = self.connection().slot;
        let keep = route.admission.keep.filter(|_| slot.is_some());
        let kind = route.settings.requests.map_or(0, RequestKind::code);
        let request = UnansweredRequest::new(request, keep.map(|keep| (keep, kind)));
        if let Some(slot) = slot {
            request.hold(slot, self.admitted.unanswered);
        }
        self.admitted.request = request;
        self.admitted.is_held = true;
    }

    fn header(&self, route: &Route) -> Vec<u8> {
        let Some(protocol) = route.settings.proxy_protocol else {
            return Vec::new();
        };
        let addresses = match self.connection().peer {
            Peer::Tcp(client) => local_address(self.admitted.socket()).map(|local| (client, local)),
            Peer::Unix(_) | Peer::Other => None,
        };
        protocol.header(addresses)
    }

    /// Ends the upstream in order, without the client. The socket of the upstream is closed here.
    pub(super) fn end_upstream(&mut self, route: &Route) {
        let connection = self.admitted.connection();
        if let (Some(keep), Some(slot)) = (route.admission.keep, connection.slot) {
            keep.detach(slot);
        }
        self.upstream = None;
        let pending = self.pending_upstream.take();
        let upstream = connection.take_upstream();
        let any = upstream.as_deref().or(pending.as_deref());
        if let Some(upstream) = any {
            ending::end_both_ways(&upstream.socket);
        }
        // Nothing is under way for it: its end would be one in order.
        ending::close_orderly(self.admitted.socket());
        let (client, upstream) = (self.relay.client, Ready::new(Family::Other));
        let kind = route.settings.requests;
        self.relay = Relay::new(client, upstream, connection.slot, kind);
    }

    /// Whether it is a client that stays without an upstream.
    pub(super) fn is_detached(&self) -> bool {
        self.connection().is_detached()
    }

    /// Whether a client without an upstream may be to get one: it has said something, or has waited for one already.
    pub(super) fn wants_upstream(&self) -> bool {
        self.admitted.is_held || has_unread(self.admitted.socket())
    }

    /// Whether a client without an upstream has sent a part of a request, and may not have one because of that. Fails
    /// if it is broken.
    pub(super) fn awaits_rest(&mut self, kind: Option<RequestKind>) -> Result<bool, Errno> {
        let said = self.admitted.request.bytes();
        let is_silent = self.admitted.is_held && said.is_empty();
        let Some(kind) = kind.filter(|_| !is_silent) else {
            return Ok(false);
        };
        let has_ended = self.relay.client.has_ended;
        let is_unfinished = relay::is_unfinished(said, self.admitted.socket(), kind, has_ended)?;
        self.admitted.rest = match (is_unfinished, self.admitted.rest) {
            (false, _) => RestOfRequest::NotMissing,
            (true, RestOfRequest::Late) => RestOfRequest::Late,
            (true, _) => RestOfRequest::Awaited,
        };
        Ok(self.admitted.rest == RestOfRequest::Awaited)
    }

    /// Whether a client without an upstream may say something, or has.
    pub(super) fn may_speak(&self) -> bool {
        !self.relay.client.has_ended || self.wants_upstream()
    }

    /// What has to be parked, if the connection is to be kept, and the target.
    pub(super) fn parts(&self) -> Option<(SlotSockets<'_>, &Address)> {
        let ConnectedUpstream { socket, target, .. } = self.any_upstream()?;
        let slot = self.connection().slot?;
        Some(((slot, self.admitted.socket(), socket.as_fd()), target))
    }

    fn any_upstream(&self) -> Option<&ConnectedUpstream> {
        let pending = self.pending_upstream.as_deref();
        pending.or(self.upstream.as_deref())
    }

    /// Whether a part of a request or a reply waits for its rest.
    pub(super) fn waits_for_rest(&self) -> bool {
        match self.is_detached() {
            true => self.admitted.rest == RestOfRequest::Awaited,
            false => self.relay.waits_for_rest(),
        }
    }

    /// Whether it is one that stays open for one small message after the other.
    pub(super) fn is_interactive(&self, now: Uptime) -> bool {
        self.connection().age(now) >= INTERACTIVE_FROM && !self.relay.carries_bulk()
    }

    /// Whether the upstream has yet to answer.
    pub(super) fn is_connecting(&self) -> bool {
        self.pending_upstream.is_some()
    }

    pub(super) fn upstream_answered(&mut self, route: &Route, now: Uptime) {
        if let Some(upstream) = self.pending_upstream.take() {
            route.reached(&upstream.target, now);
            self.upstream = Some(self.connection().set_upstream(*upstream));
            self.announce(route);
        }
    }

    /// Tells why the upstream was not reached: its error, or it has not answered in time.
    pub(super) fn attempt_failed(&self, route: &Route) {
        let Some(ConnectedUpstream { socket, target, .. }) = self.pending_upstream.as_deref()
        else {
            return;
        };
        let error = take_error(socket).unwrap_or_else(|| io::ErrorKind::TimedOut.into());
        route.not_reached(target, &error, self.connection());
    }

    pub(super) fn upstream_socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.any_upstream()?.socket.as_fd())
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.admitted.socket()).chain(self.upstream_socket())
    }

    pub(super) fn connection(&self) -> &Connection {
        self.admitted.connection()
    }

    /// Whether it is to be ended.
    pub(super) fn must_end(&self) -> bool {
        self.connection().abort_reason().is_some()
    }

    /// See [`Relay::close_if_empty`].
    pub(super) fn close_if_empty(&mut self) -> bool {
        let Some(upstream) = &self.upstream else {
            return false;
        };
        let client = self.admitted.socket();
        self.relay.close_if_empty(client, upstream.socket.as_fd())
    }

    /// Has both sides see a reset when the connection is closed.
    pub(super) fn reset_on_close(&self) {
        self.sockets().for_each(ending::reset_on_close);
    }
}

/// Parks connections that have just been admitted, except those that were parked when they were accepted.
/// Nothing was received from them yet.
pub(super) fn park_new<'a>(
    route: &Route,
    connections: impl IntoIterator<Item = &'a CarriedConnection>,
) {
    let Some(keep) = route.admission.keep else {
        return;
    };
    let mut parts = Vec::new();
    for connection in connections {
        let Some((sockets, target)) = connection.parts() else {
            continue;
        };
        if !sockets.0.is_parked_with_upstream() {
            sockets.0.set_text(&target.to_string());
            parts.push(sockets);
        }
    }
    keep.park_together(&parts);
}
