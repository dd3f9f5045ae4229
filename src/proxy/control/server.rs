//! Serving the callers of the control socket. Each is a task of its own, so that one that is broken or
//! hostile holds up nobody, and each costs a bounded amount.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::callers::{Callers, PATIENCE, Seat, send};
use super::methods;
use super::succession::{self, Claim};
use crate::interface::{CALL_MAX, qualified};
use crate::proxy::assembly::Proxy;
use crate::proxy::event;
use crate::service::ending;
use crate::service::handover::ClientSocket;
use crate::service::listener::{Accepted, Arrival, Listener, Peer};
use crate::service::varlink::{Call, ReceiveError, Reply, VarlinkConnection};

/// How much of a call that is too long is taken after the answer, so that the caller gets to read that.
const DISCARDED_MAX: usize = 1 << 20;

/// The pause when a caller could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The control sockets and those who call on them.
pub struct ControlServer {
    callers: Arc<Callers>,
}

impl ControlServer {
    /// A server on these sockets; without any, nobody can call.
    pub fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            callers: Arc::new(Callers::new(listeners)),
        }
    }

    /// Starts to take calls for `proxy`.
    pub fn start(&self, proxy: &Arc<Proxy>) {
        let listeners = self.callers.listeners();
        if listeners.is_empty() {
            return;
        }
        let (callers, proxy) = (Arc::clone(&self.callers), Arc::clone(proxy));
        tokio::spawn(async move {
            tokio::select! {
                () = callers.dismissed() => {}
                () = accept_callers(listeners, &callers, &proxy) => {}
            }
        });
    }

    /// How many callers are connected.
    pub fn callers(&self) -> usize {
        self.callers.count()
    }

    /// Whether somebody is about to call.
    pub fn has_waiting(&self) -> bool {
        self.callers.listeners().iter().any(Listener::has_waiting)
    }

    /// Waits until the last caller has gone.
    pub async fn changed(&self) {
        self.callers.all_gone().await;
    }
}

async fn accept_callers(listeners: Arc<[Listener]>, callers: &Arc<Callers>, proxy: &Arc<Proxy>) {
    loop {
        match next_caller(&listeners).await {
            Ok(Accepted::Client(Arrival { socket, peer, .. })) if is_this_process(&peer) => {
                refuse_client(&socket, proxy);
            }
            Ok(Accepted::Client(Arrival { socket, peer, .. })) => {
                let stream = match into_unix(socket) {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(ERROR = %error, "a caller was lost: {error}");
                        continue;
                    }
                };
                let (seat, evicted) = callers.enter(user(&stream));
                let (callers, proxy) = (Arc::clone(callers), Arc::clone(proxy));
                tokio::spawn(async move {
                    tokio::select! {
                        () = callers.dismissed() => {}
                        _ = evicted => {}
                        () = serve(stream, peer, seat, &proxy) => {}
                    }
                });
            }
            Ok(Accepted::Exhausted(error)) => {
                tracing::warn!(ERROR = %error, "cannot accept a caller: {error}; it waits");
                callers.make_room();
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            Ok(Accepted::Gone | Accepted::Nobody) => {}
            Err(error) => {
                tracing::error!(ERROR = %error, "the control socket is broken: {error}");
                return;
            }
        }
    }
}

/// Whether the caller is this proxy itself, which only happens if its target leads to its control socket: the
/// words would be those of a client, and the rights the proxy's own.
fn is_this_process(peer: &Peer) -> bool {
    let own = i32::try_from(std::process::id()).ok();
    matches!(peer, Peer::Unix(pid) if pid.is_some() && *pid == own)
}

fn refuse_client(socket: &ClientSocket, proxy: &Proxy) {
    ending::reset_on_close(socket);
    if !proxy.route.connector.loops.tells() {
        return;
    }
    let target = proxy.route.target().map(|target| target.to_string());
    tracing::error!(
        MESSAGE_ID = event::LEADS_BACK,
        UPSTREAM = target,
        "the target {} leads to the control socket of this proxy: clients are cut off until another one is set",
        target.as_deref().unwrap_or_default()
    );
}

async fn next_caller(listeners: &[Listener]) -> io::Result<Accepted> {
    poll_fn(|context| {
        for listener in listeners {
            if listener.poll_ready(context).is_ready() {
                match listener.accept(context)? {
                    Accepted::Nobody => {}
                    accepted => return Poll::Ready(Ok(accepted)),
                }
            }
        }
        Poll::Pending
    })
    .await
}

/// Whose process has connected: the number of its user, as far as this process can see it.
fn user(stream: &UnixStream) -> u32 {
    let credentials = rustix::net::sockopt::socket_peercred(stream);
    credentials.map_or(u32::MAX, |credentials| credentials.uid.as_raw())
}

fn into_unix(socket: ClientSocket) -> io::Result<UnixStream> {
    let socket = socket.as_fd().try_clone_to_owned()?;
    UnixStream::from_std(StdUnixStream::from(socket))
}

/// Tells a caller that its call is too long. It is still sending, and would find the connection reset if what it
/// sends were not taken.
async fn refuse_long_call(mut connection: VarlinkConnection) {
    let refusal = Reply::error(qualified("CallTooLong"), json!({ "limit": CALL_MAX }));
    if send(&mut connection, &refusal).await.is_ok() {
        connection.shutdown_write();
        let _ = timeout(PATIENCE, connection.discard(DISCARDED_MAX)).await;
    }
}

/// Answers one caller's calls, one after the other.
async fn serve(stream: UnixStream, peer: Peer, seat: Seat, proxy: &Arc<Proxy>) {
    let mut connection = VarlinkConnection::new(stream, CALL_MAX);
    let mut claim: Option<Claim> = None;
    loop {
        let answered = match timeout(PATIENCE, connection.receive::<Call>()).await {
            Ok(Ok(Some(call))) if call.method == qualified("HandOver") => {
                let callers = &seat.callers;
                succession::hand_over(&call, &mut connection, proxy, callers, &peer, &mut claim)
                    .await
            }
            Ok(Ok(Some(call))) if call.method == qualified("Retire") => {
                match succession::may_retire(&call, claim.as_ref()) {
                    None => return succession::retire(connection, proxy, &seat.callers),
                    Some(refusal) => send(&mut connection, &refusal).await,
                }
            }
            Ok(Ok(Some(call))) => {
                let answered = match seat.begin(methods::waits(&call)) {
                    None => methods::answer(&call, &mut connection, proxy).await,
                    Some(refusal) => send(&mut connection, &refusal).await,
                };
                seat.silent();
                answered
            }
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(ERROR = %error, "a caller was sent away: {error}");
                if matches!(error, ReceiveError::TooLong(_)) {
                    refuse_long_call(connection).await;
                }
                return;
            }
        };
        if answered.is_err() {
            return;
        }
    }
}
