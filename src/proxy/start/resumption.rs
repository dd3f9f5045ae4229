//! Continuing the connections that another process has left.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::interface::metrics::SurvivalCounts;
use crate::proxy::admission::{AdmittedClient, UnansweredRequest};
use crate::proxy::assembly::Proxy;
use crate::proxy::event;
use crate::proxy::keep::{self, LostConnection, RestoredConnection, Slot, Stage, Started, Way};
use crate::proxy::upstream::{ConnectedUpstream, Spare};
use crate::service::address::Address;
use crate::service::ending;
use crate::service::listener::Arrival;
use crate::service::plural::{self, clause};

/// Continues all of them, and returns what they have come through. They are counted; no client was accepted yet.
pub fn resume(proxy: &Arc<Proxy>, started: Started) -> SurvivalCounts {
    log(&started);
    let found = started.connections.len();
    let before = given_up(&started);
    let kills = started.is_after_kill.into();
    let (handed_over, relayed): (Vec<_>, Vec<_>) = started
        .connections
        .into_iter()
        .partition(|restored| matches!(restored.stage, Stage::InHandover | Stage::HandedOver));
    let (detached, relayed): (Vec<_>, Vec<_>) = relayed.into_iter().partition(is_detached);
    count(proxy, relayed.len());
    for RestoredConnection { slot, client, .. } in handed_over {
        reclaim(proxy, client, slot);
    }
    let mut lost = 0;
    for restored in detached {
        lost += usize::from(resume_detached(proxy, restored).is_err());
    }
    for restored in relayed {
        lost += usize::from(resume_relayed(proxy, restored).is_err());
    }
    SurvivalCounts {
        kills,
        restored: (found - lost) as u64,
        given_up: before + lost as u64,
    }
}

/// What is reset, and not continued by anybody.
fn given_up(started: &Started) -> u64 {
    // Of another version's nobody knows which sockets belong together.
    (started.lost.len() + started.foreign) as u64
}

/// What the connections have come through if they are [given up](give_up).
pub fn nothing_survived(started: &Started) -> SurvivalCounts {
    SurvivalCounts {
        kills: started.is_after_kill.into(),
        restored: 0,
        given_up: given_up(started) + started.connections.len() as u64,
    }
}

/// Continues with a client that has an upstream, or is about to get one.
fn resume_relayed(proxy: &Proxy, restored: RestoredConnection) -> Result<(), RequestLost> {
    let RestoredConnection { slot, stage, .. } = restored;
    let text = slot.text();
    let client = admit(proxy, restored.client, slot);
    match stage {
        Stage::Connected { upstream, flows } if has_begun(&upstream, slot) => {
            let connected = ConnectedUpstream::new(upstream.into(), target(proxy, &text));
            match has_carried(slot) {
                true => client.connection().restore_upstream(connected),
                false => client.connection().set_upstream(connected),
            };
            if !has_request(slot) {
                return Err(lose_request(&client));
            }
            proxy.workers.resume(client, slot, flows);
        }
        _ if slot.requests() != [0; 3] => return Err(lose_request(&client)),
        _ => {
            // If it is handed over next, the receiver decides how it ends.
            ending::close_orderly(client.socket());
            client.park();
            proxy.workers.wait(client);
        }
    }
    Ok(())
}

/// Continues with a client that has no upstream, and perhaps a request for the next one.
fn resume_detached(proxy: &Proxy, restored: RestoredConnection) -> Result<(), RequestLost> {
    let RestoredConnection { slot, stage, .. } = restored;
    let mut client = admit(proxy, restored.client, slot);
    match stage {
        Stage::Connected { upstream, .. } => {
            // The process was killed just before it ended that.
            let connected = ConnectedUpstream::new(upstream.into(), target(proxy, &slot.text()));
            client.connection().restore_upstream(connected);
        }
        Stage::Held {
            request,
            length,
            attempts,
            kind,
        } => {
            client.request = UnansweredRequest::restored(request, length, kind);
            client.unanswered = attempts;
            client.is_held = true;
        }
        _ => {}
    }
    proxy.admission.adopt_detached(client.connection());
    if client.is_held && proxy.route.settings.requests.is_none() {
        // It might be handed over, without its request.
        return Err(lose_request(&client));
    }
    client.park();
    proxy.workers.resume_detached(client);
    Ok(())
}

/// Ends all of them, because this process cannot carry any: the next one might not either, and no peer should
/// wait in vain.
pub fn give_up(started: Started) {
    let count = started.connections.len();
    for RestoredConnection { client, stage, .. } in &started.connections {
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

/// Whether the client stays without an upstream, between two requests or with one that is sent again, or was about to.
fn is_detached(restored: &RestoredConnection) -> bool {
    matches!(restored.stage, Stage::Held { .. }) || restored.slot.requests()[0] == Slot::DETACHED[0]
}

/// Whether a request that is sent again to another upstream is there.
fn has_request(slot: Slot) -> bool {
    u64::from(slot.flow(Way::Up).prefix_length()) >= slot.repeated()
}

/// The request of a client is not there any more, or cannot be sent; the client is reset.
struct RequestLost;

/// The process was killed after an upstream had failed to answer a request, and before that was held for another one.
fn lose_request(client: &AdmittedClient) -> RequestLost {
    let connection = client.connection();
    connection.reset_on_close();
    tracing::warn!(
        MESSAGE_ID = event::NOT_KEPT, CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} was reset when the process before ended: its request was about to be sent again",
        connection.id
    );
    RequestLost
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
    let current = proxy.route.target();
    match text.parse() {
        Ok(recorded) => current
            .filter(|current| **current == recorded)
            .unwrap_or_else(|| Arc::new(recorded)),
        Err(_) => current.unwrap_or_else(|| Arc::new(Address::Unix("unknown".into()))),
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
    if !started.connections.is_empty() {
        let count = started.connections.len();
        tracing::info!(
            MESSAGE_ID = event::CONTINUED,
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
    for LostConnection { id, text, why } in &started.lost {
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

/// Takes the client of a connection that an earlier process handed over, or ends the handover if the service is
/// done with it by now.
fn reclaim(proxy: &Proxy, client: OwnedFd, slot: Slot) {
    let (number, text) = (slot.note() as u32, slot.text());
    let client = admit(proxy, client, slot);
    let path = match text.parse() {
        Ok(Address::Handover(path)) => path,
        _ => PathBuf::new(),
    };
    let target = Arc::new(Address::Handover(path));
    client.connection().set_handed_over(number, target);
    if let Err(client) = proxy.route.handover.reclaim(number, client) {
        count(proxy, 1);
        proxy.workers.end_handover(client);
    }
}

/// Counts connections that another process has left.
fn count(proxy: &Proxy, connections: usize) {
    proxy
        .admission
        .with_gate_silently(|gate| gate.adopt(connections));
}
