//! A proxy as a service: what is due, and when the process may end.

use std::sync::Arc;

use super::control::server::ControlServer;
use super::shell::Proxy;
use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::program::Failure;
use crate::service::serve::Service;

/// A proxy with its control socket, as a service.
pub(super) struct Running {
    proxy: Arc<Proxy>,
    control: ControlServer,
}

impl Running {
    pub(super) fn new(proxy: Arc<Proxy>, control: ControlServer) -> Self {
        Self { proxy, control }
    }
}

impl Service for Running {
    fn may_accept(&self) -> bool {
        self.proxy.gate().0.may_accept()
    }

    fn set_resting(&self, resting: bool) {
        self.proxy.gate().0.set_resting(resting);
    }

    fn is_alive(&self) -> bool {
        self.proxy.workers().is_turning()
    }

    fn failure(&self) -> Option<Failure> {
        self.proxy.failure()
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
            () = self.proxy.last_will_ends() => {}
        }
    }

    fn tick(&self, now: Uptime) -> Option<Uptime> {
        let sweep = self.proxy.sweep(now);
        let unparked = self.proxy.park_unparked(now);
        let last_will = self.proxy.look_after_last_will(now);
        if !self.proxy.gate().0.may_accept() {
            self.proxy.watch_queue();
        }
        [self.proxy.gate_tick(now), sweep, unparked, last_will]
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
