//! Handing the listening sockets over to a process that takes over.
//!
//! The successor calls `HandOver`, gets the sockets, and prepares itself while this process continues. Then it
//! calls `Retire` on the same connection. Answering that and the end of accepting here are one step: either
//! the successor has the answer and accepts, or nothing has changed. From then on the connections that are
//! open here count as the successor's ([`Attendance`]).

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde_json::json;
use tokio::time::timeout;

use super::attendance::{self, Attendance};
use super::callers::{Callers, PATIENCE, send};
use crate::interface::{HANDED_MAX, HandOverReply, RetireParameters, qualified};
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
    let control = callers.backlog.listeners();
    // That of --health is one of them for a successor that does not have this option.
    let (clients, health) = (
        proxy.admission.backlog.listeners(),
        proxy.health.listeners(),
    );
    let listeners: Vec<&Listener> = clients.iter().chain(&*health).collect();
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
    let all = listeners.iter().copied().chain(&*control);
    let descriptors: Vec<_> = all.map(AsFd::as_fd).collect();
    timeout(PATIENCE, connection.send_with(&reply, &descriptors)).await?
}

/// Why these sockets cannot be handed over.
fn obstacle(listeners: &[&Listener], control: &[Listener]) -> Option<&'static str> {
    let mut all = listeners.iter().copied().chain(control);
    if all.any(Listener::is_inherited) {
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
pub(super) fn retire(
    call: Call,
    connection: VarlinkConnection,
    proxy: &Arc<Proxy>,
    callers: &Callers,
) {
    // Those of an earlier version say nothing.
    let parameters: RetireParameters = serde_json::from_value(call.parameters).unwrap_or_default();
    let passes_on = proxy.can_pass_on_to(parameters.requests.as_deref());
    let mut left = 0;
    let retired = proxy.retire(passes_on, |open| {
        left = open;
        connection.send_now(&attendance::retire_reply(open, Vec::new()))
    });
    match retired {
        Ok(()) => {
            callers.dismiss();
            tokio::spawn(Attendance::new(connection, proxy, left).run());
        }
        Err(error) => tracing::warn!(
            ERROR = %error,
            "a process that was about to take over has gone ({error}): this one goes on"
        ),
    }
}
