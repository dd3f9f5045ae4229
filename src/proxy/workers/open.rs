//! A connection, as the thread that carries it has it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::proxy::connections::{Connected, Connection};
use crate::proxy::passed::Passed;
use crate::proxy::relay::{Ready, Relay};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::poller::Flags;
use crate::service::stream::Family;

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// A client whose upstream is connected, or is about to be.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) passed: Passed,
    pub(super) relay: Relay,
    connecting: Option<Box<Connecting>>,
    /// Whether it has another turn to come.
    pub(super) is_queued: bool,
    /// Tells it from those that had its place before.
    pub(super) generation: u32,
}

/// An upstream that has yet to answer.
#[derive(Debug)]
struct Connecting {
    socket: OwnedFd,
    target: Arc<Address>,
}

impl Open {
    /// One whose upstream is connected.
    pub(super) fn relaying(passed: Passed) -> Self {
        let upstream = passed
            .connection()
            .and_then(|connection| connection.upstream.get());
        let upstream = upstream.map_or(Ready::new(Family::Other), |upstream| {
            Ready::new_with_delay(upstream.target.family())
        });
        let mut relay = Relay::new(Ready::new(family(&passed)), upstream);
        if let Some(connection) = passed.connection() {
            relay.announce(passed.proxy.announcement(connection));
        }
        Self {
            passed,
            relay,
            connecting: None,
            is_queued: false,
            generation: 0,
        }
    }

    /// One whose upstream has yet to answer.
    pub(super) fn connecting(passed: Passed, socket: OwnedFd, target: Arc<Address>) -> Self {
        let upstream = Ready::new_with_delay(target.family());
        Self {
            relay: Relay::new(Ready::new(family(&passed)), upstream),
            passed,
            connecting: Some(Box::new(Connecting { socket, target })),
            is_queued: false,
            generation: 0,
        }
    }

    /// Whether the upstream has yet to answer.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// The upstream has answered.
    pub(super) fn connected(&mut self) {
        let (Some(connecting), Some(connection)) =
            (self.connecting.take(), self.passed.connection())
        else {
            return;
        };
        let Connecting { socket, target } = *connecting;
        connection
            .upstream
            .get_or_init(|| Connected { socket, target });
        self.relay
            .announce(self.passed.proxy.announcement(connection));
    }

    /// Gives up an upstream that has not answered.
    pub(super) fn not_connected(self) -> Passed {
        self.passed
    }

    pub(super) fn client(&self) -> Option<BorrowedFd<'_>> {
        self.passed.client()
    }

    pub(super) fn upstream(&self) -> Option<BorrowedFd<'_>> {
        match &self.connecting {
            Some(connecting) => Some(connecting.socket.as_fd()),
            None => {
                let connected = self.passed.connection()?.upstream.get()?;
                Some(connected.socket.as_fd())
            }
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        self.passed.connection()
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
}

fn family(passed: &Passed) -> Family {
    passed
        .connection()
        .map_or(Family::Other, |connection| connection.peer.family())
}
