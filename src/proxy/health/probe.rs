//! Trying to reach the upstream for an answer, as a client would.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::verdict::GateView;
use crate::proxy::assembly::Proxy;
use crate::service::address::Address;
use crate::service::clock::Uptime;

/// How long an attempt may take: less than load balancers wait, and time to repeat one packet that was lost.
const LIMIT: Duration = Duration::from_millis(1500);

/// One attempt at a time: who asks meanwhile gets its result.
#[derive(Debug, Default)]
pub(super) struct Probe {
    turn: Mutex<()>,
}

impl Probe {
    /// Finds out whether the upstream is reached, unless that is known of late. It is connected to and closed again, and
    /// not at all once the gate has closed.
    pub(super) async fn look(&self, proxy: &Proxy) {
        let _turn = self.turn.lock().await;
        let Some(target) = proxy.route.target() else {
            return;
        };
        if proxy.route.upstream.is_known(Uptime::now()) {
            return;
        }
        tokio::select! {
            biased;
            () = attempt(proxy, &target) => {}
            () = gate_closes(proxy) => {}
        }
    }
}

async fn attempt(proxy: &Proxy, target: &Arc<Address>) {
    let route = &proxy.route;
    match route.connector.connect_once(target, LIMIT).await {
        Ok(_connected) => route.reached(target, Uptime::now()),
        Err(error) => route.probe_failed(target, &error),
    }
}

async fn gate_closes(proxy: &Proxy) {
    let mut changes = proxy.admission.wakers.subscribe();
    while proxy.admission.read_gate(GateView::of).is_open() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
