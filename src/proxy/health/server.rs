//! Answers over HTTP, one for each connection. All costs are bounded, and a broken or hostile peer delays no other one:
//! too many at once take the place of the oldest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::probe::Probe;
use super::verdict::GateView;
use crate::proxy::assembly::Proxy;
use crate::service::client_socket::ClientSocket;
use crate::service::http_exchange::{HttpAnswer, exchange};
use crate::service::listener::{Accepted, Listener, next_arrival};
use crate::service::stream::Stream;

/// The most peers at a time.
const PEERS_MAX: usize = 32;

/// How long a peer may take for its request, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a peer may be connected.
const CONNECTED_MAX: Duration = Duration::from_secs(15);

/// The pause when a peer could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Starts answering, if there is a socket for that.
pub fn start(proxy: &Arc<Proxy>) {
    let listeners = proxy.health.listeners();
    if !listeners.is_empty() {
        let server = HealthServer {
            proxy: Arc::clone(proxy),
            probe: Arc::default(),
            peers: VecDeque::new(),
        };
        tokio::spawn(server.run(listeners));
    }
}

struct HealthServer {
    proxy: Arc<Proxy>,
    probe: Arc<Probe>,
    /// The oldest first.
    peers: VecDeque<AbortHandle>,
}

impl HealthServer {
    async fn run(mut self, listeners: Arc<[Listener]>) {
        let mut is_exhausted = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.proxy.health.left() => return,
                accepted = next_arrival(&listeners) => accepted,
            };
            match accepted {
                Ok(Accepted::Client(peer)) => {
                    is_exhausted = false;
                    self.answer(peer.socket);
                }
                Ok(Accepted::Exhausted(error)) => {
                    // Once, until the next one is accepted.
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::warn!(ERROR = %error, "cannot accept a load balancer: {error}; it waits");
                    }
                    sleep(EXHAUSTED_PAUSE).await;
                }
                Ok(Accepted::Gone | Accepted::NoClient) => {}
                Err(error) => {
                    tracing::error!(ERROR = %error, "the socket of --health is broken: {error}");
                    return;
                }
            }
        }
    }

    fn answer(&mut self, socket: ClientSocket) {
        self.peers.retain(|peer| !peer.is_finished());
        if self.peers.len() == PEERS_MAX {
            self.peers.pop_front().iter().for_each(AbortHandle::abort);
        }
        let (peer, probe) = (CountedPeer::new(&self.proxy), Arc::clone(&self.probe));
        let conversation = async move {
            let stream = Stream::of(socket)?;
            exchange(&stream, PATIENCE, "GET, HEAD, OPTIONS", |_| {
                answer(&peer.proxy, &probe)
            })
            .await
        };
        // One that has gone or is too slow gets no answer.
        let task = tokio::spawn(async { timeout(CONNECTED_MAX, conversation).await.map(drop) });
        self.peers.push_back(task.abort_handle());
    }
}

/// A peer that is counted until it has its answer.
struct CountedPeer {
    proxy: Arc<Proxy>,
}

impl CountedPeer {
    fn new(proxy: &Arc<Proxy>) -> Self {
        proxy.health.enter();
        Self {
            proxy: Arc::clone(proxy),
        }
    }
}

impl Drop for CountedPeer {
    fn drop(&mut self) {
        self.proxy.health.exit();
    }
}

/// The answer to every request, whatever its path.
async fn answer(proxy: &Proxy, probe: &Probe) -> HttpAnswer {
    let objection = || {
        let gate = proxy.admission.read_gate(GateView::of);
        gate.objection(proxy.route.target().is_some())
    };
    if let Some(why) = objection() {
        return unavailable(why);
    }
    probe.look(proxy).await;
    // The gate may have closed meanwhile.
    match (objection(), proxy.route.upstream.failure()) {
        (Some(why), _) => unavailable(why),
        (None, Some(why)) => unavailable(&format!("the upstream is not reached: {why}")),
        (None, None) => HttpAnswer::line("200 OK", "OK"),
    }
}

fn unavailable(why: &str) -> HttpAnswer {
    HttpAnswer::line("503 Service Unavailable", why)
}
