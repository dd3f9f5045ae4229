//! Going on with the connections that another process has left ([`super::keep`]).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::client;
use super::connections::Connected;
use super::event;
use super::keep::{self, GivenUp, Restored, Slot, Stage, Started, Way};
use super::passed::Passed;
use super::shell::Proxy;
use super::upstream::Spare;
use crate::service::address::Address;
use crate::service::ending;
use crate::service::listener::Arrival;
use crate::service::words::{self, clause};

/// Goes on with all of them. They count from now on; nobody was accepted yet.
pub(super) fn go_on(proxy: &Arc<Proxy>, started: Started) {
    tell(&started);
    let (served_by_others, ours): (Vec<Restored>, Vec<Restored>) = started
        .restored
        .into_iter()
        .partition(|restored| matches!(restored.stage, Stage::Handing | Stage::Handed));
    proxy.count_restored(ours.len());
    for restored in served_by_others {
        let (number, handed) = (restored.slot.note(), restored.slot.text());
        let passed = passed(proxy, restored.client, restored.slot);
        let target = match handed.parse() {
            Ok(Address::Handover(path)) => path,
            _ => std::path::PathBuf::new(),
        };
        proxy.reclaim(number as u32, passed, &target);
    }
    for Restored {
        slot,
        client,
        stage,
    } in ours
    {
        let text = slot.text();
        let passed = passed(proxy, client, slot);
        match stage {
            Stage::Connected { upstream, flows } if has_begun(&upstream, slot) => {
                let target = target(proxy, &text);
                let connected = Connected::new(upstream.into(), target);
                match has_carried(slot) {
                    true => passed.goes_on_with(connected),
                    false => passed.is_connected(connected),
                }
                proxy.workers().carry_on(passed, slot, flows);
            }
            _ => {
                // It may be handed over next, and then its end is its receiver's.
                passed.client().into_iter().for_each(ending::close_orderly);
                passed.park();
                proxy.workers().wait_with(client::serve_client(passed));
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
            words::count(count, "connection")
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

fn passed(proxy: &Arc<Proxy>, client: OwnedFd, slot: Slot) -> Passed {
    let connection = proxy.connections.restore(Arrival::of(client), slot);
    Passed::new(connection, Spare::default(), Arc::clone(proxy))
}

/// Where a connection leads, for people.
fn target(proxy: &Proxy, text: &str) -> Arc<Address> {
    let now = proxy.target();
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

impl Proxy {
    /// A connection was handed over by an earlier process, and here is the client: whoever serves it
    /// goes on, or is done with it by now.
    fn reclaim(self: &Arc<Self>, number: u32, passed: Passed, path: &std::path::Path) {
        passed.was_handed_over(number, path);
        if let Err(passed) = self.handover.reclaim(number, passed) {
            self.count_restored(1);
            super::handover::come_back(passed);
        }
    }
}

impl Passed {
    fn was_handed_over(&self, slot: u32, path: &std::path::Path) {
        if let Some(connection) = self.connection() {
            connection.handed_over(slot, Arc::new(Address::Handover(path.to_owned())));
        }
    }

    /// Has what there is of it outlive the process.
    pub(super) fn park(&self) {
        let Some(connection) = self.connection() else {
            return;
        };
        let (Some(keep), Some(slot)) = (self.proxy.keep(), connection.slot) else {
            return;
        };
        match connection.upstream.get() {
            Some(upstream) => {
                slot.set_text(&upstream.target.to_string());
                keep.park(slot, connection.client.as_fd(), upstream.socket.as_fd());
            }
            None => {
                keep.park_client(slot, connection.client.as_fd());
            }
        }
    }
}
