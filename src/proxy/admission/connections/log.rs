//! Messages about one connection.

use std::io;

use super::abort::{Abort, Side};
use super::connection::Connection;
use crate::proxy::event;
use crate::service::clock::{Uptime, micros};
use crate::service::plural::count;

/// Logs its end, and why, if there was a reason to end it.
pub fn aborted(connection: &Connection) {
    if let Some(why) = connection.abort_reason() {
        let message_id = (why == Abort::PeerGone).then_some(event::PEER_GONE);
        was_ended(connection, message_id, Some(why.as_str()), why.as_str());
    }
    ended(connection);
}

/// Logs that a drain ends it because it is idle.
pub fn closed_idle(connection: &Connection) {
    let why = "it was idle for the --close-idle time of a lock";
    was_ended(connection, None, None, why);
}

fn was_ended(connection: &Connection, message_id: Option<&str>, reason: Option<&str>, why: &str) {
    tracing::info!(
        MESSAGE_ID = message_id, CONNECTION_ID = connection.id, PEER = %connection.peer,
        REASON = reason,
        "connection {} of {} was ended: {why}", connection.id, connection.peer
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
    let why = format!("{peer} did not answer for the keepalive time");
    was_ended(connection, Some(event::PEER_GONE), None, &why);
}
