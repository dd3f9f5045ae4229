//! Messages about one connection.

use std::io;

use super::connection::{Abort, Connection, Side};
use crate::proxy::event;
use crate::service::clock::{Uptime, micros};
use crate::service::plural::count;

/// Logs why it was ended, if it was.
pub fn aborted(connection: &Connection) {
    let Some(why) = connection.abort_reason() else {
        return;
    };
    let message_id = (why == Abort::PeerGone).then_some(event::PEER_GONE);
    tracing::info!(
        MESSAGE_ID = message_id, CONNECTION_ID = connection.id, PEER = %connection.peer,
        REASON = why.as_str(),
        "connection {} of {} was ended: {}", connection.id, connection.peer, why.as_str()
    );
}

/// Logs that a drain ends it because it is idle.
pub fn closed_idle(connection: &Connection) {
    tracing::info!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} was ended: it was idle for the --close-idle time of a lock",
        connection.id, connection.peer
    );
}

pub fn ended(connection: &Connection) {
    let (received, sent) = connection.carried();
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        RECEIVED_BYTES = received, SENT_BYTES = sent,
        DURATION_USEC = micros(connection.age(Uptime::now())),
        "connection {} of {} has ended: {} received, {sent} sent",
        connection.id, connection.peer, count(received, "byte")
    );
}

/// Logs that epoll(7) cannot watch its sockets.
pub fn unwatched(connection: &Connection, error: &io::Error) {
    tracing::error!(
        CONNECTION_ID = connection.id, PEER = %connection.peer, ERROR = %error,
        "client {} was given up: its sockets cannot be watched: {error}", connection.peer
    );
}

/// Logs that the kernel's own probes got no answer.
pub fn peer_gone(connection: &Connection, side: Side) {
    let peer = match side {
        Side::Client => "the client",
        Side::Upstream => "the upstream",
    };
    tracing::info!(
        MESSAGE_ID = event::PEER_GONE, CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} was ended: {peer} did not answer for the keepalive time",
        connection.id, connection.peer
    );
}
