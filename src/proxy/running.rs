//! A proxy as a service: who is let in, and when the process may end.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::serve_client;
use super::control::server::ControlServer;
use super::handover::{NotNow, Sender};
use super::keep::Keep;
use super::passed::Passed;
use super::shell::Proxy;
use super::upstream::Spare;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::listener::{Accepted, Listener};
use crate::service::program::Failure;
use crate::service::serve::{Admission, Service};

/// How long a client that finds no room keeps others from being accepted.
const BURST: Duration = Duration::from_millis(100);

/// A proxy with its control socket, as a service.
pub(super) struct Running {
    proxy: Arc<Proxy>,
    control: ControlServer,
    /// A client that found no room when it was to be handed over, since when. Nobody is accepted
    /// meanwhile: so a burst of clients waits where it waits at no cost, and in order.
    next: Mutex<Option<(Passed, Arc<Sender>, Instant)>>,
}

impl Running {
    pub(super) fn new(proxy: Arc<Proxy>, control: ControlServer) -> Self {
        Self {
            proxy,
            control,
            next: Mutex::default(),
        }
    }

    fn next(&self) -> MutexGuard<'_, Option<(Passed, Arc<Sender>, Instant)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be room for the client that found none.
    async fn room(&self) {
        let sender = self
            .next()
            .as_ref()
            .map(|(_, sender, _)| Arc::clone(sender));
        match sender {
            // It fails only when the runtime shuts down.
            Some(sender) => drop(sender.room().await),
            None => std::future::pending().await,
        }
    }

    /// Hands the client over that found no room, if there is some now. After a short time it waits by
    /// itself, and others are accepted to wait with it; tells when that will be.
    fn hand_next(&self, now: Uptime) -> Option<Uptime> {
        let mut next = self.next();
        let (passed, sender, since) = next.take()?;
        let Some(turn) = sender.at_once() else {
            tokio::spawn(serve_client(passed));
            return None;
        };
        let left = BURST.saturating_sub(since.elapsed());
        match self.proxy.handover.hand(&turn, passed) {
            Ok(()) => None,
            Err((passed, error))
                if error.kind() == io::ErrorKind::WouldBlock && !left.is_zero() =>
            {
                *next = Some((passed, sender, since));
                Some(now + left)
            }
            Err((passed, _)) => {
                tokio::spawn(serve_client(passed));
                None
            }
        }
    }
}

impl Service for Running {
    type Connection = Passed;

    fn may_accept(&self) -> bool {
        self.proxy.gate().0.may_accept() && self.next().is_none()
    }

    fn accepts_elsewhere(&self) -> bool {
        self.proxy.gate().relays()
    }

    fn rest(&self, rests: bool) {
        self.proxy.gate().0.set_resting(rests);
    }

    fn is_alive(&self) -> bool {
        self.proxy.workers().is_turning()
    }

    fn failure(&self) -> Option<Failure> {
        self.proxy.failure()
    }

    /// Hands over who comes; whoever is to be relayed is accepted by [`super::workers`].
    fn admit(
        &self,
        accept: &mut dyn FnMut() -> io::Result<Accepted>,
    ) -> io::Result<Admission<Passed>> {
        let Some(target) = self.proxy.target() else {
            return Ok(Admission::Closed);
        };
        let Address::Handover(path) = &*target else {
            return Ok(Admission::Closed);
        };
        if let Err(error) = self.proxy.handover.reserve() {
            self.proxy.handover.shrink();
            return Ok(Admission::Exhausted(error));
        }
        // Connections that end on other threads wait for it, so it is held for no longer than it must.
        let mut gate = self.proxy.gate();
        if !gate.0.may_accept() || gate.relays() {
            return Ok(Admission::Closed);
        }
        Ok(match accept()? {
            Accepted::Client(client) => {
                gate.0.accepted();
                let slot = self.proxy.keep().and_then(Keep::claim);
                let connection = self.proxy.connections.add(client, slot);
                let proxy = Arc::clone(&self.proxy);
                let passed = Passed::new(connection, Spare::default(), proxy);
                match self.proxy.handover.hand_at_once(path, passed) {
                    Ok(()) => Admission::Elsewhere,
                    Err(NotNow::Full(passed, sender)) => {
                        passed.park();
                        *self.next() = Some((passed, sender, Instant::now()));
                        Admission::Elsewhere
                    }
                    Err(NotNow::Waits(passed)) => {
                        passed.park();
                        Admission::Client(passed)
                    }
                }
            }
            Accepted::Gone => Admission::Gone,
            Accepted::Nobody => Admission::Nobody,
            Accepted::Exhausted(error) => {
                self.proxy.handover.shrink();
                Admission::Exhausted(error)
            }
        })
    }

    async fn handle(passed: Passed) {
        serve_client(passed).await;
    }

    fn open(&self) -> usize {
        let (open, stopping) = {
            let gate = self.proxy.gate();
            (gate.0.open(), gate.0.is_stopping())
        };
        match stopping {
            // Others do not need this process any more.
            true => open.saturating_sub(self.proxy.handover.lasting()),
            false => open,
        }
    }

    fn in_use(&self) -> bool {
        self.open() > 0 || self.control.callers() > 0
    }

    fn may_exit(&self) -> bool {
        !self.control.has_waiting()
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.proxy.woken.notified() => {}
            () = self.control.changed() => {}
            () = self.room() => {}
        }
    }

    fn tick(&self, now: Uptime) -> Option<Uptime> {
        let next = self.hand_next(now);
        let sweep = self.proxy.sweep(now);
        if !self.proxy.gate().0.may_accept() {
            self.proxy.watch_queue();
        }
        [self.proxy.gate_tick(now), sweep, next]
            .into_iter()
            .flatten()
            .min()
    }

    fn status(&self, _: &[Listener]) -> String {
        self.proxy.count_seen();
        let (state, open) = self.proxy.progress();
        let gate = state.as_str();
        let queued = self.proxy.queued();
        match self.proxy.target() {
            Some(target) => {
                format!("Gate {gate}: {open} open, {queued} waiting; leads to {target}.")
            }
            None => format!(
                "Gate {gate}: {queued} waiting until disnix-tcp-proxyctl set-target says where to."
            ),
        }
    }

    fn reload(&self) -> Option<Result<(), Failure>> {
        Some(self.proxy.reload_target().map_err(Failure::from))
    }

    fn leaves(&self) -> bool {
        self.proxy.keep().is_some()
    }

    fn wants_to_end(&self) -> bool {
        self.proxy.gate().0.is_stopping()
    }

    fn has_handed_over(&self) -> bool {
        self.proxy.gate().0.is_retired()
    }

    fn stopping(&self) {
        self.proxy.stop_accepting();
        self.proxy.handover.stop();
    }
}
