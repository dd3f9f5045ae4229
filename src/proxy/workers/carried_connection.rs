//! A connection, as the thread that carries it has it.

use std::os::fd::{AsFd, BorrowedFd};

use crate::proxy::admission::{AdmittedClient, Connection};
use crate::proxy::keep::{RestoredFlow, Slot, SlotSockets, Way};
use crate::proxy::relay::{Ready, Relay};
use crate::proxy::route::Route;
use crate::proxy::upstream::Connected;
use crate::service::address::Address;
use crate::service::ending;
use crate::service::stream::Family;

/// A client whose upstream is connected, or is about to be.
#[derive(Debug)]
pub(super) struct CarriedConnection {
    /// Dropped before the relay: as long as the connection is kept, what the relay holds is nobody else's.
    pub(super) admitted: AdmittedClient,
    pub(super) relay: Relay,
    /// An upstream that has yet to answer.
    connecting: Option<Box<Connected>>,
    /// Whether it has another turn to come.
    pub(super) is_queued: bool,
    /// Distinguishes it from earlier connections with its key.
    pub(super) generation: u32,
}

impl CarriedConnection {
    /// A connection whose upstream is connected.
    pub(super) fn relaying(admitted: AdmittedClient, route: &Route) -> Self {
        let mut carried = Self::silent(admitted, None);
        carried.announce(route);
        carried
    }

    /// A connection of another process.
    pub(super) fn restored(
        admitted: AdmittedClient,
        slot: Slot,
        flows: [RestoredFlow; 2],
        route: &Route,
    ) -> Self {
        let mut carried = Self::silent(admitted, None);
        let (client, upstream) = (carried.relay.client, carried.relay.upstream);
        carried.relay = Relay::restored(client, upstream, slot, flows);
        if !slot.flow(Way::Up).has_begun() {
            carried.announce(route);
        }
        carried
    }

    /// A connection whose upstream has yet to answer.
    pub(super) fn connecting(admitted: AdmittedClient, connecting: Connected) -> Self {
        Self::silent(admitted, Some(connecting))
    }

    /// A connection of which the upstream hears nothing yet.
    fn silent(admitted: AdmittedClient, connecting: Option<Connected>) -> Self {
        let connection = admitted.connection();
        let connected = connecting.as_ref().or_else(|| connection.upstream.get());
        let upstream = connected.map_or(Family::Other, |connected| connected.target.family());
        let (client, upstream) = (
            Ready::new(connection.family),
            Ready::new_with_delay(upstream),
        );
        Self {
            relay: Relay::new(client, upstream, connection.slot),
            admitted,
            connecting: connecting.map(Box::new),
            is_queued: false,
            generation: 0,
        }
    }

    /// Makes the relay send the PROXY header first, if there is one.
    fn announce(&mut self, route: &Route) {
        let bytes = route.announcement(self.admitted.connection());
        self.relay.announce(&bytes);
    }

    /// What has to be parked, if the connection is to be kept, and the target.
    pub(super) fn parts(&self) -> Option<(SlotSockets<'_>, &Address)> {
        let Connected { socket, target, .. } = self.connected()?;
        let slot = self.connection().slot?;
        Some(((slot, self.admitted.socket(), socket.as_fd()), target))
    }

    fn connected(&self) -> Option<&Connected> {
        let connecting = self.connecting.as_deref();
        connecting.or_else(|| self.connection().upstream.get())
    }

    /// Whether the upstream has yet to answer.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    pub(super) fn upstream_answered(&mut self, route: &Route) {
        if let Some(connecting) = self.connecting.take() {
            self.connection().set_upstream(*connecting);
            self.announce(route);
        }
    }

    /// Closes an upstream that has not answered.
    pub(super) fn into_client(self) -> AdmittedClient {
        self.admitted
    }

    pub(super) fn upstream(&self) -> Option<BorrowedFd<'_>> {
        Some(self.connected()?.socket.as_fd())
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.admitted.socket()).chain(self.upstream())
    }

    pub(super) fn connection(&self) -> &Connection {
        self.admitted.connection()
    }

    /// Has both sides see a reset when the connection is closed.
    pub(super) fn reset_on_close(&self) {
        self.sockets().for_each(ending::reset_on_close);
    }
}
