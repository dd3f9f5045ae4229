//! Clients that were handed over and whose connections have ended, or are to be cut.

use std::time::Duration;

use super::admitted_client::AdmittedClient;
use super::connections::log;
use super::handover::Handover;
use super::route::Route;
use crate::service::ending;

/// What comes next for a client that has come back.
pub(super) enum Return {
    /// Nothing: it was served, or given up.
    Over,
    /// It is to be handed over again, after a pause.
    Again(Duration, AdmittedClient),
}

/// The process that served a client is done with it, or was killed: then the client goes to the next one,
/// unless it was being served.
pub(super) fn come_back(mut client: AdmittedClient, route: &Route) -> Return {
    let Some(connection) = client.connection() else {
        return Return::Over;
    };
    if !connection.taken_back() {
        log::ended(connection);
        return Return::Over;
    }
    let id = connection.id;
    let peer = connection.peer.clone();
    match client.comes_back(route.settings.connect_timeout) {
        Some(pause) => {
            tracing::debug!(
                CONNECTION_ID = id, PEER = %peer,
                "connection {id} of {peer} came back unserved: it is handed over again"
            );
            Return::Again(pause, client)
        }
        None => {
            if let Some(connection) = client.connection() {
                let why = "whoever it is handed over to closes it unserved, again and again";
                route.count_unreachable(connection, &why);
                connection.reset_on_close();
            }
            Return::Over
        }
    }
}

/// Cuts the connection of this slot.
pub(super) fn cut(handover: &Handover, slot: u32) {
    if let Some(client) = handover.cut(slot)
        && let Some(connection) = client.connection()
    {
        connection.taken_back();
        ending::end_by_reset(&connection.client);
        log::aborted(connection);
        log::ended(connection);
    }
}
