//! A client that waits: for its upstream, for room where clients are handed over to, or for the next handover.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::detaching_signal::DetachingSignal;
use crate::proxy::admission::{AdmittedClient, Connection, log};
use crate::proxy::route::{Route, SendPermit, Sender};
use crate::proxy::upstream::{Attempts, Spare};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::stream::Stream;

/// The pause before the next attempt.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// How often a client that waits for a handover checks whether the target is still the same.
const HANDOVER_ATTEMPT: Duration = Duration::from_secs(5);

/// The end of one attempt.
enum WaitOutcome {
    /// The client was served, or given up.
    Over,
    /// Its upstream is connected.
    Connected,
    /// The gate has closed meanwhile, and nothing is under way for the client.
    Held,
    /// The client can be handed over.
    HandOver(SendPermit),
    Again,
}

struct Wait<'a> {
    route: &'a Route,
    detaching: &'a DetachingSignal,
    attempts: Attempts,
}

/// Waits until the client's upstream is connected, and returns the client, parked; `None` if it was handed
/// over or given up. `failed` attempts to connect have been made. If connections are to be detached meanwhile, the
/// client is detached and held.
pub(super) async fn wait(
    mut client: AdmittedClient,
    failed: u32,
    route: &Route,
    detaching: &DetachingSignal,
) -> Option<AdmittedClient> {
    let limit = route.settings.connect_timeout;
    let attempts = Attempts::new(client.wait_start, limit, failed);
    let wait = Wait {
        route,
        detaching,
        attempts,
    };
    loop {
        let spare = std::mem::take(&mut client.spare);
        match wait.attempt(client.connection(), spare).await {
            WaitOutcome::Over => return None,
            WaitOutcome::Again => {}
            WaitOutcome::Connected => {
                client.park();
                return Some(client);
            }
            WaitOutcome::Held => {
                client.is_held = true;
                route.admission.detached(client.connection());
                return Some(client);
            }
            WaitOutcome::HandOver(permit) => {
                let mut clients = vec![client];
                match route.handover.hand_over(&permit, &mut clients) {
                    Ok(()) => reached(&permit.sender.target, route),
                    Err(error) => {
                        tracing::debug!(ERROR = %error, "a client goes on waiting for its handover: {error}");
                    }
                }
                client = clients.pop()?;
            }
        }
        tokio::time::sleep(HANDOVER_PAUSE).await;
    }
}

/// A client was handed over to this target, which may not be the current one any more.
fn reached(target: &Address, route: &Route) {
    if let Some(current) = route.target().filter(|current| **current == *target) {
        route.reached(&current, Uptime::now());
    }
}

/// Gives up a client that nobody has served where it was to be handed over to.
fn give_up(connection: &Connection, why: String, route: &Route) {
    route.give_up(connection, &why);
    if let Some(target) = route.target() {
        route.not_reached(&target, &io::Error::other(why), connection);
    }
}

impl Wait<'_> {
    /// Waits until a client can be carried or handed over, or for its end.
    async fn attempt(&self, connection: &Connection, spare: Spare) -> WaitOutcome {
        tokio::select! {
            biased;
            reached = self.reach(connection, spare) => match reached {
                Ok(WaitOutcome::Over) => {}
                Ok(next) => return next,
                Err(error) => {
                    log::unwatched(connection, &error);
                    connection.reset_on_close();
                }
            },
            _ = connection.aborted() => {
                connection.reset_on_close();
                log::aborted(connection);
                return WaitOutcome::Over;
            }
            () = self.detaching.begun(self.route) => return WaitOutcome::Held,
        }
        log::ended(connection);
        WaitOutcome::Over
    }

    /// Connects to the upstream, or waits for a handover. Fails only if the runtime cannot watch a socket.
    async fn reach(&self, connection: &Connection, spare: Spare) -> io::Result<WaitOutcome> {
        let client = Stream::of(connection.client.as_fd())?;
        let Some(first_target) = self.route.target() else {
            connection.reset_on_close();
            return Ok(WaitOutcome::Over);
        };
        // The client has found no room, so it waits for that at once.
        if let Address::Handover(path) = &*first_target {
            if let Ok(sender) = self.route.handover.sender(path) {
                return self.wait_for_permit(connection, &client, sender).await;
            }
        }
        let target = || self.route.target().unwrap_or_else(|| first_target.clone());
        let connector = &self.route.connector;
        let failed = |target: &Arc<Address>, error: &io::Error| {
            self.route.not_reached(target, error, connection);
        };
        let connected = tokio::select! {
            biased; // bytes of a client that has left are still delivered if the upstream is there
            result = connector.connect_with_retries(target, self.attempts, spare, failed) => result,
            () = client.broken() => return Ok(WaitOutcome::Over),
        };
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.route.give_up(connection, &error);
                return Ok(WaitOutcome::Over);
            }
        };
        if matches!(*connected.target, Address::Handover(_)) {
            return Ok(self.again(connection, &connected.target));
        }
        self.route.reached(&connected.target, Uptime::now());
        let connected = connection.set_upstream(connected);
        tracing::debug!(
            CONNECTION_ID = connection.id, PEER = %connection.peer, UPSTREAM = %connected.target,
            "connection {}: {} leads to {}", connection.id, connection.peer, connected.target
        );
        Ok(WaitOutcome::Connected)
    }

    /// Waits for the permit to hand the client over, until the target has to be checked again.
    async fn wait_for_permit(
        &self,
        connection: &Connection,
        client: &Stream<BorrowedFd<'_>>,
        sender: Arc<Sender>,
    ) -> io::Result<WaitOutcome> {
        let attempt = self
            .attempts
            .deadline()
            .min(Instant::now() + HANDOVER_ATTEMPT);
        let permit = tokio::select! {
            biased;
            permit = Box::pin(tokio::time::timeout_at(attempt, sender.permit())) => permit,
            () = client.broken() => return Ok(WaitOutcome::Over),
        };
        match permit {
            Ok(permit) => Ok(WaitOutcome::HandOver(permit?)),
            Err(_) => Ok(self.again(connection, &sender.target)),
        }
    }

    /// Returns [`WaitOutcome::Again`]; gives the client up if its time is over.
    fn again(&self, connection: &Connection, target: &Address) -> WaitOutcome {
        if !self.attempts.are_over() {
            return WaitOutcome::Again;
        }
        let why = format!("nobody takes clients at {target}");
        give_up(connection, why, self.route);
        WaitOutcome::Over
    }
}

/// The service is done with a client that was handed over, or was killed. Returns a client that was not served,
/// with the pause before it is handed over again. The counterpart for connecting is a first attempt
/// (`Route::first_attempt_limit`), and then `Connector::connect_with_retries`.
pub(super) fn retry_handover(
    mut client: AdmittedClient,
    route: &Route,
) -> Option<(Duration, AdmittedClient)> {
    if !client.connection().end_handover() {
        log::ended(client.connection());
        return None;
    }
    let pause = client.handover_pause(route.settings.connect_timeout);
    let connection = client.connection();
    let Some(pause) = pause else {
        let why = "the process that gets it closes it unserved, again and again";
        give_up(connection, why.to_owned(), route);
        return None;
    };
    // The receiver may have made it blocking, and it may be relayed now. It fails on no socket.
    let _ = rustix::io::ioctl_fionbio(&connection.client, true);
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} came back unserved: it is handed over again",
        connection.id, connection.peer
    );
    Some((pause, client))
}
