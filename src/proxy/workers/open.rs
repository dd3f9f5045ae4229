//! A connection, as the thread that carries it has it.

use std::os::fd::{AsFd, BorrowedFd};

use crate::proxy::admitted_client::AdmittedClient;
use crate::proxy::connections::{Connection, Side};
use crate::proxy::keep::{RestoredFlow, Slot, SlotSockets, Way};
use crate::proxy::relay::{Ready, Relay};
use crate::proxy::route::Route;
use crate::proxy::upstream::Connected;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::poller::Flags;
use crate::service::stream::Family;

/// A client whose upstream is connected, or is about to be.
#[derive(Debug)]
pub(super) struct Open {
    /// Dropped before the relay: what that holds is nobody else's as long as the connection is kept.
    pub(super) admitted: AdmittedClient,
    pub(super) relay: Relay,
    /// An upstream that has yet to answer.
    connecting: Option<Box<Connected>>,
    /// Whether it has another turn to come.
    pub(super) is_queued: bool,
    /// Tells it from those that had its place before.
    pub(super) generation: u32,
}

impl Open {
    /// One whose upstream is connected.
    pub(super) fn relaying(admitted: AdmittedClient, route: &Route) -> Self {
        let mut open = Self::connected_to(admitted);
        open.announce(route);
        open
    }

    /// One that another process has left.
    pub(super) fn restored(
        admitted: AdmittedClient,
        slot: Slot,
        flows: [RestoredFlow; 2],
        route: &Route,
    ) -> Self {
        let up = slot.flow(Way::Up);
        let has_begun = up.taken() > 0 || up.is_finished();
        let mut open = Self::connected_to(admitted);
        open.relay = Relay::restored(open.relay.client, open.relay.upstream, slot, flows);
        if !has_begun {
            open.announce(route);
        }
        open
    }

    /// One whose upstream has yet to answer.
    pub(super) fn connecting(admitted: AdmittedClient, connecting: Connected) -> Self {
        let silent = Self::silent(admitted, connecting.target.family());
        Self {
            connecting: Some(Box::new(connecting)),
            ..silent
        }
    }

    /// One whose upstream is connected, and told nothing of the client.
    fn connected_to(admitted: AdmittedClient) -> Self {
        let family = admitted
            .connection()
            .and_then(|connection| connection.upstream.get())
            .map_or(Family::Other, |upstream| upstream.target.family());
        Self::silent(admitted, family)
    }

    /// The upstream, which is of this family, is told nothing of the client.
    fn silent(admitted: AdmittedClient, upstream: Family) -> Self {
        let connection = admitted.connection();
        let client = connection.map_or(Family::Other, |connection| connection.family);
        let slot = connection.and_then(|connection| connection.slot);
        Self {
            relay: Relay::new(Ready::new(client), Ready::new_with_delay(upstream), slot),
            admitted,
            connecting: None,
            is_queued: false,
            generation: 0,
        }
    }

    /// The upstream hears first who the client is, if it is to.
    fn announce(&mut self, route: &Route) {
        if let Some(connection) = self.admitted.connection() {
            let bytes = route.announcement(connection);
            self.relay.announce(&bytes);
        }
    }

    /// What has to be parked, if it is to be kept.
    pub(super) fn parts(&self) -> Option<SlotSockets<'_>> {
        let slot = self.connection()?.slot?;
        Some((slot, self.client()?, self.upstream()?))
    }

    /// Where it leads.
    pub(super) fn target(&self) -> Option<&Address> {
        match &self.connecting {
            Some(connecting) => Some(&connecting.target),
            None => Some(&self.connection()?.upstream.get()?.target),
        }
    }

    /// Whether the upstream has yet to answer.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// The upstream has answered.
    pub(super) fn connected(&mut self, route: &Route) {
        if let (Some(connecting), Some(connection)) =
            (self.connecting.take(), self.admitted.connection())
        {
            connection.is_connected(*connecting);
            self.announce(route);
        }
    }

    /// Gives up an upstream that has not answered.
    pub(super) fn not_connected(self) -> AdmittedClient {
        self.admitted
    }

    pub(super) fn client(&self) -> Option<BorrowedFd<'_>> {
        self.admitted.socket()
    }

    pub(super) fn upstream(&self) -> Option<BorrowedFd<'_>> {
        match &self.connecting {
            Some(connecting) => Some(connecting.socket.as_fd()),
            None => {
                let connected = self.admitted.connection()?.upstream.get()?;
                Some(connected.socket.as_fd())
            }
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        self.admitted.connection()
    }

    /// epoll(7) tells this.
    pub(super) fn tell(&mut self, side: Side, flags: Flags) {
        match side {
            Side::Client => self.relay.client.tell(flags),
            Side::Upstream => self.relay.upstream.tell(flags),
        }
    }

    /// Whether it has carried something since then.
    pub(super) fn is_active(&self, since: Uptime) -> bool {
        self.connection()
            .is_some_and(|connection| connection.active() >= since)
    }

    /// Whether somebody wants it to end.
    pub(super) fn must_end(&self) -> bool {
        self.connection()
            .and_then(Connection::why_aborted)
            .is_some()
    }

    /// Both sides are to see a reset.
    pub(super) fn reset_on_close(&self) {
        for socket in [self.client(), self.upstream()].into_iter().flatten() {
            ending::reset_on_close(socket);
        }
    }
}
