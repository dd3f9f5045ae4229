//! Handing the listening sockets over to the process that takes the place of this one.
//!
//! The successor calls `HandOver`, gets the sockets, and makes itself ready while this process goes
//! on. Then it calls `Retire` on the same connection. The answer to that and the end of our
//! accepting are one step: either the successor has the answer and accepts, or nothing has changed.
//! From then on our open connections count as the successor's: it hears how many are left, and they
//! end when it ends.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, MutexGuard, PoisonError};

use serde_json::json;
use tokio::time::timeout;

use super::callers::{Callers, PATIENCE, send};
use crate::interface::{HANDED_MAX, HandOverReply, RetireReply, qualified};
use crate::proxy::assembly::Proxy;
use crate::proxy::connections::Abort;
use crate::service::listener::{Listener, Peer};
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The right of one caller to take over, until this is dropped.
pub(super) struct Claim {
    callers: Arc<Callers>,
}

impl Claim {
    /// The right, if nobody has it.
    fn stake(callers: &Arc<Callers>, peer: &Peer) -> Result<Self, Reply> {
        let mut claimed = claimed(callers);
        if let Some(other) = &*claimed {
            let pid = match other {
                Peer::Unix(pid) => *pid,
                _ => None,
            };
            return Err(refusal("BeingTakenOver", json!({ "pid": pid })));
        }
        *claimed = Some(peer.clone());
        Ok(Self {
            callers: Arc::clone(callers),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        *claimed(&self.callers) = None;
    }
}

fn claimed(callers: &Callers) -> MutexGuard<'_, Option<Peer>> {
    callers.claim.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(name: &str, parameters: serde_json::Value) -> Reply {
    Reply::error(qualified(name), parameters)
}

/// Answers `HandOver`. An error means that the caller has gone.
pub(super) async fn hand_over(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Proxy,
    callers: &Arc<Callers>,
    peer: &Peer,
    claim: &mut Option<Claim>,
) -> io::Result<()> {
    if call.oneway {
        return Ok(());
    }
    let (listeners, control) = (proxy.admission.backlog.listeners(), callers.listeners());
    if let Some(reason) = obstacle(&listeners, &control) {
        return send(
            connection,
            &refusal("CannotHandOver", json!({ "reason": reason })),
        )
        .await;
    }
    if claim.is_none() {
        match Claim::stake(callers, peer) {
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

/// Whether `Retire` makes sense now; the refusal if it does not.
pub(super) fn may_retire(call: &Call, claim: Option<&Claim>) -> Option<Reply> {
    match (claim, call.more) {
        (None, _) => Some(refusal("NotHandedOver", json!({}))),
        (Some(_), false) => Some(Reply::expected_more()),
        (Some(_), true) => None,
    }
}

/// Answers `Retire`: the last thing that this process is asked for.
pub(super) fn retire(connection: VarlinkConnection, proxy: &Arc<Proxy>, callers: &Callers) {
    let mut told = 0;
    let retired = proxy.retire(|open| {
        told = open;
        connection.send_now(&left(open))
    });
    match retired {
        Ok(()) => {
            callers.dismiss();
            tokio::spawn(attend(connection, Arc::clone(proxy), told));
        }
        Err(error) => tracing::warn!(
            ERROR = %error,
            "a process that was about to take over has gone ({error}): this one goes on"
        ),
    }
}

fn left(open: usize) -> Reply {
    match open {
        0 => Reply::last(RetireReply { open }),
        _ => Reply::continued(RetireReply { open }),
    }
}

/// Tells the successor how many connections are left, until none is. If it has gone, or wants to
/// hear no more, those that are left are cut: whoever counts them as its own must not be wrong.
async fn attend(mut connection: VarlinkConnection, proxy: Arc<Proxy>, mut told: usize) {
    let mut changes = proxy.admission.wakers.subscribe();
    let mut cut = false;
    while told > 0 {
        changes.mark_unchanged();
        let (_, open) = proxy.admission.progress();
        if open != told {
            told = open;
            if send(&mut connection, &left(open)).await.is_err() {
                return proxy.cut_all(Abort::Successor);
            }
            continue;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = connection.hung_up(), if !cut => {
                cut = true;
                proxy.cut_all(Abort::Successor);
            }
        }
    }
}
