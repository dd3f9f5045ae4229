//! Handing the listening sockets over to a process that takes over.
//!
//! The successor calls `HandOver`, gets the sockets, and prepares itself while this process continues. Then it
//! calls `Retire` on the same connection. Answering that and the end of accepting here are one step: either
//! the successor has the answer and accepts, or nothing has changed. From then on the connections that are
//! open here count as the successor's: it is sent their number, and they end when it ends.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde_json::json;
use tokio::time::timeout;

use super::callers::{Callers, PATIENCE, send};
use crate::interface::{HANDED_MAX, HandOverReply, RetireReply, qualified};
use crate::proxy::admission::{Abort, Gate};
use crate::proxy::assembly::Proxy;
use crate::service::listener::{Listener, Peer};
use crate::service::mutex;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The right of one caller to take over, until this is dropped.
pub(super) struct TakeOverClaim {
    callers: Arc<Callers>,
}

impl TakeOverClaim {
    /// The claim, or a refusal if another caller has it.
    fn stake(callers: &Arc<Callers>, peer: &Peer) -> Result<Self, Reply> {
        let mut claim = mutex::lock(&callers.claim);
        if let Some(other) = &*claim {
            let pid = match other {
                Peer::Unix(pid) => *pid,
                _ => None,
            };
            return Err(refusal("BeingTakenOver", json!({ "pid": pid })));
        }
        *claim = Some(peer.clone());
        Ok(Self {
            callers: Arc::clone(callers),
        })
    }
}

impl Drop for TakeOverClaim {
    fn drop(&mut self) {
        *mutex::lock(&self.callers.claim) = None;
    }
}

fn refusal(name: &str, parameters: serde_json::Value) -> Reply {
    Reply::error(qualified(name), parameters)
}

/// Answers `HandOver`.
/// Fails if the caller has hung up.
pub(super) async fn hand_over(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Proxy,
    callers: &Arc<Callers>,
    peer: &Peer,
    claim: &mut Option<TakeOverClaim>,
) -> io::Result<()> {
    if call.oneway {
        return Ok(());
    }
    let (listeners, control) = (
        proxy.admission.backlog.listeners(),
        callers.backlog.listeners(),
    );
    if let Some(reason) = obstacle(&listeners, &control) {
        let refusal = refusal("CannotHandOver", json!({ "reason": reason }));
        return send(connection, &refusal).await;
    }
    if claim.is_none() {
        match TakeOverClaim::stake(callers, peer) {
            Ok(staked) => *claim = Some(staked),
            Err(refusal) => return send(connection, &refusal).await,
        }
    }
    let reply = Reply::last(HandOverReply {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        control: control[0].to_string(),
        runtime_directory: proxy.admission.lock_directory(),
        state_directory: proxy.route.target_file.directory(),
    });
    let descriptors: Vec<_> = listeners.iter().chain(&*control).map(AsFd::as_fd).collect();
    timeout(PATIENCE, connection.send_with(&reply, &descriptors)).await?
}

/// Why these sockets cannot be handed over.
fn obstacle(listeners: &[Listener], control: &[Listener]) -> Option<&'static str> {
    if listeners.iter().chain(control).any(Listener::is_inherited) {
        return Some(
            "they are systemd's, which keeps them while the service is restarted: restart the unit",
        );
    }
    match (control.len(), listeners.len()) {
        (1, ..HANDED_MAX) => None,
        _ => Some("there are more than 4,095: lock it, stop it, start the next"),
    }
}

/// Returns a refusal unless `Retire` may be called now.
pub(super) fn may_retire(call: &Call, claim: Option<&TakeOverClaim>) -> Option<Reply> {
    match (claim, call.more) {
        (None, _) => Some(refusal("NotHandedOver", json!({}))),
        (Some(_), false) => Some(Reply::expected_more()),
        (Some(_), true) => None,
    }
}

/// Answers `Retire`, the last call that this process answers.
pub(super) fn retire(connection: VarlinkConnection, proxy: &Arc<Proxy>, callers: &Callers) {
    let mut left = 0;
    let retired = proxy.retire(|open| {
        left = open;
        connection.send_now(&retire_reply(open))
    });
    match retired {
        Ok(()) => {
            callers.dismiss();
            tokio::spawn(attend(connection, Arc::clone(proxy), left));
        }
        Err(error) => tracing::warn!(
            ERROR = %error,
            "a process that was about to take over has gone ({error}): this one goes on"
        ),
    }
}

fn retire_reply(open: usize) -> Reply {
    match open {
        0 => Reply::last(RetireReply { open }),
        _ => Reply::continued(RetireReply { open }),
    }
}

/// Sends the successor the number of connections that are left, until it is 0. If the successor hangs up or
/// shuts down its side, they are cut: it counts them as its own, and must not be wrong.
async fn attend(mut connection: VarlinkConnection, proxy: Arc<Proxy>, mut left: usize) {
    let mut changes = proxy.admission.wakers.subscribe();
    let mut cut = false;
    while left > 0 {
        changes.mark_unchanged();
        // Detached clients too: until they leave they get their upstreams here.
        let open = proxy.admission.read_gate(Gate::connected);
        if open != left {
            left = open;
            if send(&mut connection, &retire_reply(open)).await.is_err() {
                return proxy.admission.connections.abort_all(Abort::Successor);
            }
            continue;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = connection.hung_up(), if !cut => {
                cut = true;
                proxy.admission.connections.abort_all(Abort::Successor);
            }
        }
    }
}
