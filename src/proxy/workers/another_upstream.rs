//! A client that gets another upstream, because it was without one, or because the last one did not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::carried_connection::CarriedConnection;
use crate::proxy::admission::AdmittedClient;
use crate::proxy::route::Route;

/// How many upstreams in a row may end without an answer. One more is not enough: that may be reached through a
/// listener that is about to close, or be the next process that dies.
const UNANSWERED_MAX: u8 = 3;

/// The pause before the second upstream without an answer; it grows by that much each time.
const PAUSE: Duration = Duration::from_millis(50);

/// The upstream has ended before it has answered a request: takes the connection apart, so that the request can be sent
/// to another one. Nothing is left to be told to the upstream.
pub(super) fn take_client(mut carried: CarriedConnection, route: &Route) -> AdmittedClient {
    carried.admitted.unanswered += 1;
    carried.keep_request(route);
    carried.end_upstream(route);
    carried.admitted
}

/// Prepares a client without an upstream for the next one. Returns the pause before that; `None` if it cannot get
/// another one, and is to be reset.
pub(super) fn prepare(client: &mut AdmittedClient) -> Option<Duration> {
    if client.unanswered > UNANSWERED_MAX {
        return None;
    }
    client.wait_start = Instant::now();
    client.is_held = false;
    if let Some(slot) = client.connection().slot {
        let begun = match slot.is_used() {
            true => slot.begin_anew(client.socket()),
            false => Ok(()),
        };
        if let Err(why) = begun {
            let connection = client.connection();
            tracing::warn!(
                CONNECTION_ID = connection.id, PEER = %connection.peer,
                "connection {} of {} gets no other upstream: {why}", connection.id, connection.peer
            );
            return None;
        }
        match client.request.bytes() {
            [] => slot.set_requests([0; 3]),
            _ => client.request.hold(slot, client.unanswered),
        }
    }
    Some(PAUSE * u32::from(client.unanswered))
}
