//! The clients that others serve: until they come back, or are cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::proxy::client::{serve_client, tell_aborted, tell_ended};
use crate::proxy::passed::Passed;
use crate::proxy::shell::Proxy;
use crate::service::ending;

/// What was made for many connections handed over at a time is given up when it was not needed for
/// so long.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Sees to the clients that were handed over, but for those that come back, until the runtime ends.
pub(in crate::proxy) async fn attend(proxy: Arc<Proxy>) {
    let mut every = tokio::time::interval(TRIM_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick(), if proxy.handover.has_surplus() => proxy.handover.trim(),
            cuts = proxy.connections.to_cut() => {
                if cuts.relayed {
                    proxy.workers().cut();
                }
                cuts.slots.into_iter().for_each(|slot| cut(&proxy, slot));
            }
        }
    }
}

fn cut(proxy: &Proxy, slot: u32) {
    if let Some(passed) = proxy.handover.cut(slot)
        && let Some(connection) = passed.connection()
    {
        connection.taken_back();
        ending::end_by_reset(&connection.client);
        tell_aborted(connection);
        tell_ended(connection);
    }
}

/// Whoever served a client is done with it, or was killed: then it goes to the next one, unless it
/// was being served.
pub(in crate::proxy) fn come_back(mut passed: Passed) {
    let Some(connection) = passed.connection() else {
        return;
    };
    if !connection.taken_back() {
        return tell_ended(connection);
    }
    let id = connection.id;
    let peer = connection.peer.clone();
    match passed.comes_back(passed.proxy.settings.connect_timeout) {
        Some(pause) => {
            tracing::debug!(
                CONNECTION_ID = id, PEER = %peer,
                "connection {id} of {peer} came back unserved: it is handed over again"
            );
            passed.proxy.clone().workers().wait_with(async move {
                tokio::time::sleep(pause).await;
                serve_client(passed).await;
            });
        }
        None => {
            if let Some(connection) = passed.connection() {
                let why = "whoever it is handed over to closes it unserved, again and again";
                passed.proxy.count_unreachable(connection, &why);
                connection.reset_on_close();
            }
        }
    }
}
