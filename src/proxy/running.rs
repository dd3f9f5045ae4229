//! A proxy as a service: what is due, and when the process may end.

use std::sync::Arc;

use super::assembly::Proxy;
use super::control::server::ControlServer;
use super::gate::Gate;
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
        self.proxy.admission.look(Gate::may_accept)
    }

    fn set_resting(&self, resting: bool) {
        self.proxy
            .admission
            .with_gate_silently(|gate| gate.set_resting(resting));
    }

    fn is_alive(&self) -> bool {
        self.proxy.workers.is_turning()
    }

    fn failure(&self) -> Option<Failure> {
        self.proxy.admission.failure()
    }

    fn open(&self) -> usize {
        let admission = &self.proxy.admission;
        let (open, stopping) = admission.look(|gate| (gate.open(), gate.is_stopping()));
        match stopping {
            // Others do not need this process any more.
            true => open.saturating_sub(self.proxy.route.handover.lasting()),
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
            () = self.proxy.admission.wakers.life_cycle() => {}
            () = self.control.changed() => {}
            () = self.proxy.last_will.ends() => {}
        }
    }

    fn tick(&self, now: Uptime) -> Option<Uptime> {
        self.proxy.tick(now)
    }

    fn status(&self, _: &[Listener]) -> String {
        let admission = &self.proxy.admission;
        admission.wakers.count_seen();
        let (state, open) = admission.progress();
        let gate = state.as_str();
        let queued = admission.backlog.waiting();
        match self.proxy.route.target() {
            Some(target) => {
                format!("Gate {gate}: {open} open, {queued} waiting; leads to {target}.")
            }
            None => format!(
                "Gate {gate}: {queued} waiting until disnix-tcp-proxyctl set-target says where to."
            ),
        }
    }

    fn reload(&self) -> Option<Result<(), Failure>> {
        Some(self.proxy.route.reload_target().map_err(Failure::from))
    }

    fn leaves(&self) -> bool {
        self.proxy.admission.keep().is_some()
    }

    fn wants_to_end(&self) -> bool {
        self.proxy.admission.look(Gate::is_stopping)
    }

    fn has_handed_over(&self) -> bool {
        self.proxy.admission.look(Gate::is_retired)
    }

    fn stopping(&self) {
        self.proxy.admission.with_gate_silently(Gate::stopping);
        self.proxy.route.handover.stop();
    }
}
