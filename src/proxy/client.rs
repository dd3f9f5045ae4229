//! What happens to a client that has to wait before it is served, or for the end of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connections::{Abort, Connection};
use super::event;
use super::handover::{Sender, Turn};
use super::passed::Passed;
use super::relay;
use super::shell::Proxy;
use super::upstream::Spare;
use crate::service::address::Address;
use crate::service::clock::{Uptime, micros};
use crate::service::ending;
use crate::service::stream::Stream;
use crate::service::words::count;

/// The pause when a client could not be handed over for lack of memory or descriptors.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// Those who wait to be handed over look again after so long whether the target is still the same.
const HANDOVER_ATTEMPT: Duration = Duration::from_secs(5);

/// What comes next for a client.
enum Next {
    /// Nothing: it was served, or given up.
    Over,
    /// Its upstream is connected.
    Carry,
    /// It can be handed over.
    HandOver(Turn),
    /// It has to wait on.
    Again,
}

/// How long a client waits for whoever is to serve it.
struct Patience {
    limit: Option<Duration>,
    until: Option<Instant>,
    /// Whether it has waited already.
    spent: bool,
}

impl Patience {
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

/// Sees to a client until it is carried or handed over, or is given up.
pub(super) async fn serve_client(mut passed: Passed) {
    let mut patience = Patience::new(passed.proxy.settings.connect_timeout);
    loop {
        let spare = std::mem::take(&mut passed.spare);
        let Some(connection) = passed.connection() else {
            return;
        };
        match wait(&passed.proxy, connection, spare, &patience).await {
            Next::Over => return,
            Next::Again => {}
            Next::Carry => {
                passed.park();
                let proxy = Arc::clone(&passed.proxy);
                return proxy.workers().carry(&proxy, passed);
            }
            Next::HandOver(turn) => {
                let proxy = Arc::clone(&passed.proxy);
                let mut clients = vec![passed];
                if let Err(error) = proxy.handover.hand(&turn, &mut clients) {
                    tracing::debug!(ERROR = %error, "a client waits on: {error}");
                }
                match clients.pop() {
                    Some(back) => passed = back,
                    None => return,
                }
            }
        }
        tokio::time::sleep(HANDOVER_PAUSE).await;
        patience.spent = true;
    }
}

/// Tells why it was ended, if it was.
pub(super) fn tell_aborted(connection: &Connection) {
    let Some(why) = connection.why_aborted() else {
        return;
    };
    let message_id = (why == Abort::PeerGone).then_some(event::PEER_GONE);
    tracing::info!(
        MESSAGE_ID = message_id, CONNECTION_ID = connection.id, PEER = %connection.peer,
        REASON = why.as_str(),
        "connection {} of {} was ended: {}", connection.id, connection.peer, why.as_str()
    );
}

/// Waits until a client can be carried or handed over, or for its end.
async fn wait(proxy: &Proxy, connection: &Connection, spare: Spare, patience: &Patience) -> Next {
    tokio::select! {
        biased;
        reached = reach(proxy, connection, spare, patience) => match reached {
            Ok(Next::Over) => {}
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
            tell_aborted(connection);
        }
    }
    tell_ended(connection);
    Next::Over
}

/// Tells that it has ended.
pub(super) fn tell_ended(connection: &Connection) {
    let (received, sent) = connection.carried();
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        RECEIVED_BYTES = received, SENT_BYTES = sent,
        DURATION_USEC = micros(connection.age(Uptime::now())),
        "connection {} of {} has ended: {} received, {sent} sent",
        connection.id, connection.peer, count(received, "byte")
    );
}

/// Which of the two sockets is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Client,
    Upstream,
}

/// Has the other side of a broken connection see a reset, behind what it was sent before.
pub(super) async fn deliver_the_rest(passed: Passed, broken: Broken, kind: io::ErrorKind) {
    let Some(connection) = passed.connection() else {
        return;
    };
    if is_gone(kind) {
        tell_gone(connection, broken);
    }
    let upstream = connection
        .upstream
        .get()
        .map(|upstream| upstream.socket.as_fd());
    let left = match broken {
        Broken::Client => upstream,
        Broken::Upstream => Some(connection.client.as_fd()),
    };
    if let Some(left) = left {
        tokio::select! {
            biased;
            () = reset(left) => {}
            _ = connection.aborted() => {
                connection.reset_on_close();
                tell_aborted(connection);
            }
        }
    }
    tell_ended(connection);
}

async fn reset(socket: BorrowedFd<'_>) {
    match Stream::of(socket) {
        Ok(stream) => relay::deliver_then_reset(&stream).await,
        // It cannot be waited for.
        Err(_) => ending::reset_on_close(socket),
    }
}

/// Connects to the upstream; or tells what comes next instead. Fails only when the runtime cannot watch
/// a socket.
async fn reach(
    proxy: &Proxy,
    connection: &Connection,
    spare: Spare,
    patience: &Patience,
) -> io::Result<Next> {
    let client = Stream::of(connection.client.as_fd())?;
    let Some(first_target) = proxy.target() else {
        client.reset_on_close();
        return Ok(Next::Over);
    };
    // Whoever has had no room waits for it at once.
    if let Address::Handover(path) = &*first_target
        && let Ok(sender) = proxy.handover.sender(path)
    {
        return wait_in_turn(proxy, connection, &client, sender, patience).await;
    }
    let target = || proxy.target().unwrap_or_else(|| first_target.clone());
    let connected = tokio::select! {
        biased; // what a client said before it left is still delivered if the upstream is there
        result = proxy.connector.connect(target, patience.left(), spare) => result,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Next::Over),
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            proxy.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Next::Over);
        }
    };
    if matches!(*connected.target, Address::Handover(_)) {
        return Ok(again(proxy, connection, &connected.target, patience));
    }
    let connected = connection.is_connected(connected);
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer, UPSTREAM = %connected.target,
        "connection {}: {} leads to {}", connection.id, connection.peer, connected.target
    );
    Ok(Next::Carry)
}

/// Waits for the right to hand a client over, and from time to time looks whether the target is
/// still the same.
async fn wait_in_turn(
    proxy: &Proxy,
    connection: &Connection,
    client: &Stream<BorrowedFd<'_>>,
    sender: Arc<Sender>,
    patience: &Patience,
) -> io::Result<Next> {
    let attempt = Instant::now() + HANDOVER_ATTEMPT;
    let attempt = patience.until.map_or(attempt, |until| until.min(attempt));
    let turn = tokio::select! {
        biased;
        turn = Box::pin(tokio::time::timeout_at(attempt, sender.in_turn())) => turn,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Next::Over),
    };
    if let Ok(turn) = turn {
        return Ok(Next::HandOver(turn?));
    }
    Ok(again(proxy, connection, sender.target(), patience))
}

/// A client waits on, unless its time is over.
fn again(proxy: &Proxy, connection: &Connection, target: &Address, patience: &Patience) -> Next {
    if patience.until.is_none_or(|until| Instant::now() < until) {
        return Next::Again;
    }
    let why = format!("nobody takes clients at {target}");
    proxy.count_unreachable(connection, &why);
    connection.reset_on_close();
    Next::Over
}

/// Whether the kernel's own probes found that nobody is there.
fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}

fn tell_gone(connection: &Connection, broken: Broken) {
    let who = match broken {
        Broken::Client => "the client",
        Broken::Upstream => "the upstream",
    };
    tracing::info!(
        MESSAGE_ID = event::PEER_GONE, CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} was ended: {who} did not answer for the keepalive time",
        connection.id, connection.peer
    );
}
