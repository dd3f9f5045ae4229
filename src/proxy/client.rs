//! What happens to one client.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connections::{Abort, Connected, Connection};
use super::event;
use super::handover::{Sender, Turn};
use super::passed::Passed;
use super::relay::{self, Ending};
use super::shell::Proxy;
use super::upstream::{self, Spare};
use crate::service::address::Address;
use crate::service::clock::{Uptime, micros};
use crate::service::listener::Peer;
use crate::service::stream::Stream;

/// The pause when a client could not be handed over for lack of memory or descriptors.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// Those who wait to be handed over look again after so long whether the target is still the same.
const HANDOVER_ATTEMPT: Duration = Duration::from_secs(5);

/// What comes next for a client.
enum Next {
    /// Nothing: it was served, or given up.
    Over,
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

/// Serves one client from the gate to the end, or until it is handed over.
pub(super) async fn serve_client(mut passed: Passed) {
    let mut patience = Patience::new(passed.proxy.settings.connect_timeout);
    loop {
        let spare = std::mem::take(&mut passed.spare);
        let Some(connection) = passed.connection() else {
            return;
        };
        match carry(&passed.proxy, connection, spare, &patience).await {
            Next::Over => return,
            Next::Again => {}
            Next::HandOver(turn) => {
                let proxy = Arc::clone(&passed.proxy);
                match proxy.handover.hand(&turn, passed) {
                    Ok(()) => return,
                    Err((back, error)) => {
                        tracing::debug!(ERROR = %error, "a client waits on: {error}");
                        passed = back;
                    }
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

/// Carries one client to the end, or until it may be handed over: then it is its turn.
async fn carry(proxy: &Proxy, connection: &Connection, spare: Spare, patience: &Patience) -> Next {
    tokio::select! {
        biased;
        carried = connect_and_relay(proxy, connection, spare, patience) => match carried {
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
        "connection {} of {} has ended: {received} bytes received, {sent} sent",
        connection.id, connection.peer
    );
}

/// Fails only when the runtime cannot watch a socket.
async fn connect_and_relay(
    proxy: &Proxy,
    connection: &Connection,
    spare: Spare,
    patience: &Patience,
) -> io::Result<Next> {
    let client = Stream::of(connection.client.as_fd(), connection.peer.family())?;
    // Boxed, so that what it takes to get there is no burden to the open connection.
    let connected = match Box::pin(reach(proxy, connection, &client, spare, patience)).await? {
        Ok(connected) => connected,
        Err(next) => return Ok(next),
    };
    let upstream = Stream::of(connected.socket.as_fd(), connected.target.family())?;
    if let Some(protocol) = proxy.settings.proxy_protocol {
        let header = protocol.header(addresses(connection));
        if let Err(error) = Box::pin(upstream.send_all(&header)).await {
            proxy.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Next::Over);
        }
    }
    match relay::relay(&client, &upstream, connection).await {
        Ending::ClientBroken(kind) if is_gone(kind) => tell_gone(connection, "the client"),
        Ending::UpstreamBroken(kind) if is_gone(kind) => tell_gone(connection, "the upstream"),
        Ending::Orderly | Ending::ClientBroken(_) | Ending::UpstreamBroken(_) => {}
    }
    Ok(Next::Over)
}

/// Connects to the upstream; or tells what comes next instead.
async fn reach<'a>(
    proxy: &Proxy,
    connection: &'a Connection,
    client: &Stream<BorrowedFd<'_>>,
    spare: Spare,
    patience: &Patience,
) -> io::Result<Result<&'a Connected, Next>> {
    let Some(first_target) = proxy.target() else {
        client.reset_on_close();
        return Ok(Err(Next::Over));
    };
    // Whoever has had no room waits for it at once.
    if let Address::Handover(path) = &*first_target
        && let Ok(sender) = proxy.handover.sender(path)
    {
        let turn = wait_in_turn(proxy, connection, client, sender, patience).await;
        return turn.map(Err);
    }
    let target = || proxy.target().unwrap_or_else(|| first_target.clone());
    let keepalive = proxy.settings.keepalive;
    let connected = tokio::select! {
        biased; // what a client said before it left is still delivered if the upstream is there
        result = upstream::connect(target, patience.left(), keepalive, spare) => result,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Err(Next::Over)),
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            proxy.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Err(Next::Over));
        }
    };
    if let Address::Handover(path) = &*connected.target {
        return Ok(Err(again(proxy, connection, path, patience)));
    }
    let connected = connection.upstream.get_or_init(|| connected);
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer, UPSTREAM = %connected.target,
        "connection {}: {} leads to {}", connection.id, connection.peer, connected.target
    );
    Ok(Ok(connected))
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
    Ok(again(proxy, connection, sender.path(), patience))
}

/// A client waits on, unless its time is over.
fn again(proxy: &Proxy, connection: &Connection, path: &Path, patience: &Patience) -> Next {
    if patience.until.is_none_or(|until| Instant::now() < until) {
        return Next::Again;
    }
    let why = format!("nobody takes clients at handover:{}", path.display());
    proxy.count_unreachable(connection, &why);
    connection.reset_on_close();
    Next::Over
}

/// Whether the kernel's own probes found that nobody is there.
fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}

fn tell_gone(connection: &Connection, who: &str) {
    tracing::info!(
        MESSAGE_ID = event::PEER_GONE, CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} was ended: {who} did not answer for the keepalive time",
        connection.id, connection.peer
    );
}

/// The client's address and the one it connected to, if they are of TCP.
fn addresses(connection: &Connection) -> Option<(SocketAddr, SocketAddr)> {
    let Peer::Tcp(client) = connection.peer else {
        return None;
    };
    let local = rustix::net::getsockname(&connection.client).ok()?;
    Some((client, SocketAddr::try_from(local).ok()?))
}
