//! A client that waits for its upstream, or for room where clients are handed over to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admitted_client::AdmittedClient;
use super::connections::{Connection, log};
use super::handover::{SendPermit, Sender};
use super::route::Route;
use super::upstream::Spare;
use crate::service::address::Address;
use crate::service::stream::Stream;

/// The pause when a client could not be handed over for lack of memory or descriptors.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// Those who wait to be handed over look again after so long whether the target is still the same.
const HANDOVER_ATTEMPT: Duration = Duration::from_secs(5);

/// What comes next for a client.
enum Progress {
    /// Nothing: it was served, or given up.
    Over,
    /// Its upstream is connected.
    Carry,
    /// It can be handed over.
    HandOver(SendPermit),
    /// It has to wait on.
    Again,
}

/// How long a client waits for whoever is to serve it.
struct WaitLimit {
    limit: Option<Duration>,
    until: Option<Instant>,
    /// Whether it has waited already.
    spent: bool,
}

impl WaitLimit {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            until: limit.map(|limit| Instant::now() + limit),
            spent: false,
        }
    }

    fn left(&self) -> Option<Duration> {
        match (self.spent, self.until) {
            (true, Some(until)) => Some(until.saturating_duration_since(Instant::now())),
            _ => self.limit,
        }
    }
}

/// Waits until the client's upstream is connected, and returns the client, parked; `None` when it was handed
/// over or given up meanwhile.
pub(super) async fn wait(mut client: AdmittedClient, route: &Route) -> Option<AdmittedClient> {
    let mut patience = WaitLimit::new(route.settings.connect_timeout);
    loop {
        let spare = std::mem::take(&mut client.spare);
        match attempt(route, client.connection()?, spare, &patience).await {
            Progress::Over => return None,
            Progress::Again => {}
            Progress::Carry => {
                client.park();
                return Some(client);
            }
            Progress::HandOver(turn) => {
                let mut clients = vec![client];
                if let Err(error) = route.handover.hand(&turn, &mut clients) {
                    tracing::debug!(ERROR = %error, "a client waits on: {error}");
                }
                client = clients.pop()?;
            }
        }
        tokio::time::sleep(HANDOVER_PAUSE).await;
        patience.spent = true;
    }
}

/// Waits until a client can be carried or handed over, or for its end.
async fn attempt(
    route: &Route,
    connection: &Connection,
    spare: Spare,
    patience: &WaitLimit,
) -> Progress {
    tokio::select! {
        biased;
        reached = reach(route, connection, spare, patience) => match reached {
            Ok(Progress::Over) => {}
            Ok(next) => return next,
            Err(error) => {
                tracing::error!(
                    CONNECTION_ID = connection.id, PEER = %connection.peer, ERROR = %error,
                    "client {} was given up: its sockets cannot be watched: {error}", connection.peer
                );
                connection.reset_on_close();
            }
        },
        _ = connection.aborted() => {
            connection.reset_on_close();
            log::aborted(connection);
        }
    }
    log::ended(connection);
    Progress::Over
}

/// Connects to the upstream; or tells what comes next instead. Fails only when the runtime cannot watch
/// a socket.
async fn reach(
    route: &Route,
    connection: &Connection,
    spare: Spare,
    patience: &WaitLimit,
) -> io::Result<Progress> {
    let client = Stream::of(connection.client.as_fd())?;
    let Some(first_target) = route.target() else {
        client.reset_on_close();
        return Ok(Progress::Over);
    };
    // Whoever has had no room waits for it at once.
    if let Address::Handover(path) = &*first_target
        && let Ok(sender) = route.handover.sender(path)
    {
        return wait_in_turn(route, connection, &client, sender, patience).await;
    }
    let target = || route.target().unwrap_or_else(|| first_target.clone());
    let connected = tokio::select! {
        biased; // what a client said before it left is still delivered if the upstream is there
        result = route.connector.connect(target, patience.left(), spare) => result,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Progress::Over),
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            route.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Progress::Over);
        }
    };
    if matches!(*connected.target, Address::Handover(_)) {
        return Ok(again(route, connection, &connected.target, patience));
    }
    let connected = connection.is_connected(connected);
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer, UPSTREAM = %connected.target,
        "connection {}: {} leads to {}", connection.id, connection.peer, connected.target
    );
    Ok(Progress::Carry)
}

/// Waits for the right to hand a client over, and from time to time looks whether the target is
/// still the same.
async fn wait_in_turn(
    route: &Route,
    connection: &Connection,
    client: &Stream<BorrowedFd<'_>>,
    sender: Arc<Sender>,
    patience: &WaitLimit,
) -> io::Result<Progress> {
    let attempt = Instant::now() + HANDOVER_ATTEMPT;
    let attempt = patience.until.map_or(attempt, |until| until.min(attempt));
    let turn = tokio::select! {
        biased;
        turn = Box::pin(tokio::time::timeout_at(attempt, sender.in_turn())) => turn,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Progress::Over),
    };
    if let Ok(turn) = turn {
        return Ok(Progress::HandOver(turn?));
    }
    Ok(again(route, connection, sender.target(), patience))
}

/// A client waits on, unless its time is over.
fn again(
    route: &Route,
    connection: &Connection,
    target: &Address,
    patience: &WaitLimit,
) -> Progress {
    if patience.until.is_none_or(|until| Instant::now() < until) {
        return Progress::Again;
    }
    let why = format!("nobody takes clients at {target}");
    route.count_unreachable(connection, &why);
    connection.reset_on_close();
    Progress::Over
}
