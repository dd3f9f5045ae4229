//! Going on with the connections that another process has left ([`super::keep`]).

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::admitted_client::AdmittedClient;
use super::assembly::Proxy;
use super::event;
use super::keep::{self, GivenUp, Restored, Slot, Stage, Started, Way};
use super::returns::{Return, come_back};
use super::upstream::{Connected, Spare};
use crate::service::address::Address;
use crate::service::ending;
use crate::service::listener::Arrival;
use crate::service::plural::{self, clause};

/// Goes on with all of them. They count from now on; nobody was accepted yet.
pub(super) fn go_on(proxy: &Arc<Proxy>, started: Started) {
    tell(&started);
    let (served_by_others, ours): (Vec<Restored>, Vec<Restored>) = started
        .restored
        .into_iter()
        .partition(|restored| matches!(restored.stage, Stage::Handing | Stage::Handed));
    count(proxy, ours.len());
    for restored in served_by_others {
        let (number, handed) = (restored.slot.note(), restored.slot.text());
        let client = admit(proxy, restored.client, restored.slot);
        let target = match handed.parse() {
            Ok(Address::Handover(path)) => path,
            _ => PathBuf::new(),
        };
        reclaim(proxy, number as u32, client, target);
    }
    for Restored {
        slot,
        client,
        stage,
    } in ours
    {
        let text = slot.text();
        let client = admit(proxy, client, slot);
        match stage {
            Stage::Connected { upstream, flows } if has_begun(&upstream, slot) => {
                let target = target(proxy, &text);
                let connected = Connected::new(upstream.into(), target);
                match has_carried(slot) {
                    true => client.goes_on_with(connected),
                    false => client.is_connected(connected),
                }
                proxy.workers.carry_on(client, slot, flows);
            }
            _ => {
                // It may be handed over next, and then its end is its receiver's.
                client.socket().into_iter().for_each(ending::close_orderly);
                client.park();
                proxy.workers.wait(client);
            }
        }
    }
}

/// Ends all of them, for this process cannot carry any, and the next one could not either, perhaps: nobody
/// waits for what may never come.
pub(super) fn give_up(started: Started) {
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

/// Whether the connection has to go on with this upstream. If it had not answered yet, and was given
/// nothing, another attempt is as good.
fn has_begun(upstream: &OwnedFd, slot: Slot) -> bool {
    rustix::net::getpeername(upstream).is_ok() || has_carried(slot)
}

fn has_carried(slot: Slot) -> bool {
    Way::BOTH
        .iter()
        .any(|way| slot.flow(*way).taken() > 0 || slot.flow(*way).is_finished())
}

fn admit(proxy: &Proxy, client: OwnedFd, slot: Slot) -> AdmittedClient {
    let connections = &proxy.admission.connections;
    let connection = connections.restore(Arrival::of(client), slot);
    AdmittedClient::new(connection, Spare::default(), Arc::clone(&proxy.admission))
}

/// Where a connection leads, for people.
fn target(proxy: &Proxy, text: &str) -> Arc<Address> {
    let now = proxy.route.target();
    match text.parse() {
        Ok(then) => match now {
            Some(now) if *now == then => now,
            _ => Arc::new(then),
        },
        Err(_) => now.unwrap_or_else(|| Arc::new(Address::Unix("unknown".into()))),
    }
}

fn tell(started: &Started) {
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

/// A connection was handed over by an earlier process, and here is the client: the process that serves it goes
/// on, or is done with it by now.
fn reclaim(proxy: &Proxy, number: u32, client: AdmittedClient, path: PathBuf) {
    if let Some(connection) = client.connection() {
        connection.handed_over(number, Arc::new(Address::Handover(path)));
    }
    let Err(client) = proxy.route.handover.reclaim(number, client) else {
        return;
    };
    count(proxy, 1);
    if let Return::Again(pause, client) = come_back(client, &proxy.route) {
        proxy.workers.wait_after(pause, client);
    }
}

/// Counts connections that another process has left.
fn count(proxy: &Proxy, connections: usize) {
    proxy
        .admission
        .with_gate_silently(|gate| gate.adopt(connections));
}
