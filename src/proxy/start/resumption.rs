//! Continuing the connections that another process has left.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::proxy::admission::AdmittedClient;
use crate::proxy::assembly::Proxy;
use crate::proxy::event;
use crate::proxy::keep::{self, GivenUp, Restored, Slot, Stage, Started, Way};
use crate::proxy::upstream::{Connected, Spare};
use crate::service::address::Address;
use crate::service::ending;
use crate::service::listener::Arrival;
use crate::service::plural::{self, clause};

/// Continues all of them. They are counted; no client was accepted yet.
pub fn resume(proxy: &Arc<Proxy>, started: Started) {
    log(&started);
    let (handed_over, ours): (Vec<Restored>, Vec<Restored>) = started
        .restored
        .into_iter()
        .partition(|restored| matches!(restored.stage, Stage::Handing | Stage::Handed));
    count(proxy, ours.len());
    for Restored { slot, client, .. } in handed_over {
        reclaim(proxy, client, slot);
    }
    for restored in ours {
        let Restored { slot, stage, .. } = restored;
        let (text, client) = (slot.text(), restored.client);
        let client = admit(proxy, client, slot);
        match stage {
            Stage::Connected { upstream, flows } if has_begun(&upstream, slot) => {
                let connected = Connected::new(upstream.into(), target(proxy, &text));
                match has_carried(slot) {
                    true => client.connection().restore_upstream(connected),
                    false => _ = client.connection().set_upstream(connected),
                }
                proxy.workers.carry_on(client, slot, flows);
            }
            _ => {
                // If it is handed over next, the receiver decides how it ends.
                ending::close_orderly(client.socket());
                client.park();
                proxy.workers.wait(client);
            }
        }
    }
}

/// Ends all of them, because this process cannot carry any: the next one might not either, and no peer should
/// wait in vain.
pub fn give_up(started: Started) {
    let count = started.restored.len();
    for Restored { client, stage, .. } in &started.restored {
        ending::end_by_reset(client);
        if let Stage::Connected { upstream, .. } = stage {
            ending::end_by_reset(upstream);
        }
    }
    if count > 0 {
        tracing::warn!(
            MESSAGE_ID = event::NOT_KEPT,
            OPEN = count,
            "reset {} that the process before has left: this one cannot carry any",
            plural::count(count, "connection")
        );
    }
    if let Err(error) = started.keep.forget() {
        tracing::debug!(ERROR = %error, "the store cannot be cleared: {error}");
    }
}

/// Whether the connection has to keep this upstream. If that has neither answered nor received
/// anything, another attempt is as good.
fn has_begun(upstream: &OwnedFd, slot: Slot) -> bool {
    rustix::net::getpeername(upstream).is_ok() || has_carried(slot)
}

fn has_carried(slot: Slot) -> bool {
    Way::BOTH.iter().any(|way| slot.flow(*way).has_begun())
}

fn admit(proxy: &Proxy, client: OwnedFd, slot: Slot) -> AdmittedClient {
    let connections = &proxy.admission.connections;
    let connection = connections.restore(Arrival::of(client), slot);
    AdmittedClient::new(connection, Spare::default(), Arc::clone(&proxy.admission))
}

/// The target of a connection, for people.
fn target(proxy: &Proxy, text: &str) -> Arc<Address> {
    let now = proxy.route.target();
    match text.parse() {
        Ok(then) => now
            .filter(|now| **now == then)
            .unwrap_or_else(|| Arc::new(then)),
        Err(_) => now.unwrap_or_else(|| Arc::new(Address::Unix("unknown".into()))),
    }
}

fn log(started: &Started) {
    if let Some(killed) = keep::heir_of() {
        let pid = std::process::id();
        tracing::warn!(
            MESSAGE_ID = event::RESPAWNED,
            KILLED_PID = killed,
            "process {killed} has ended, by a signal or a crash: process {pid} goes on in its place"
        );
    }
    if !started.restored.is_empty() {
        let count = started.restored.len();
        tracing::info!(
            MESSAGE_ID = event::WENT_ON,
            OPEN = count,
            "{} that the process before has left",
            clause(count, "connection", ("goes on", "go on"))
        );
    }
    if started.foreign > 0 {
        tracing::warn!(
            MESSAGE_ID = event::NOT_KEPT,
            OPEN = started.foreign,
            "{} reset: a version has left connections that this one does not understand (before \
             such an upgrade, lock)",
            clause(started.foreign, "socket", ("was", "were"))
        );
    }
    for GivenUp { id, text, why } in &started.given_up {
        let why = match why {
            Some(why) => why.to_string(),
            None => "its sockets were not kept, or not yet".to_owned(),
        };
        tracing::warn!(
            MESSAGE_ID = event::NOT_KEPT,
            CONNECTION_ID = id,
            UPSTREAM = text,
            REASON = why,
            "connection {id} was reset when the process before ended: {why}"
        );
    }
}

/// Takes the client of a connection that an earlier process handed over. The service continues, or is done with
/// it by now.
fn reclaim(proxy: &Proxy, client: OwnedFd, slot: Slot) {
    let (number, text) = (slot.note() as u32, slot.text());
    let client = admit(proxy, client, slot);
    let path = match text.parse() {
        Ok(Address::Handover(path)) => path,
        _ => PathBuf::new(),
    };
    let target = Arc::new(Address::Handover(path));
    client.connection().handed_over(number, target);
    if let Err(client) = proxy.route.handover.reclaim(number, client) {
        count(proxy, 1);
        proxy.workers.comes_back(client);
    }
}

/// Counts connections that another process has left.
fn count(proxy: &Proxy, connections: usize) {
    proxy
        .admission
        .with_gate_silently(|gate| gate.adopt(connections));
}
