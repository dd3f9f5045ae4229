//! Serving the callers of the control socket. Each is a task of its own and has bounded costs, so that a
//! broken or hostile caller does not delay others.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::callers::{Callers, PATIENCE, Seat, send};
use super::methods;
use super::succession::{self, TakeOverClaim};
use crate::interface::{CALL_MAX, qualified};
use crate::proxy::assembly::Proxy;
use crate::proxy::event;
use crate::service::client_socket::ClientSocket;
use crate::service::ending;
use crate::service::listener::{Accepted, Arrival, Listener, Peer, next_arrival};
use crate::service::varlink::{Call, ReceiveError, Reply, VarlinkConnection};

/// How many bytes of a call that is too long are received after the answer, so that the caller can read it.
const DISCARDED_MAX: usize = 1 << 20;

/// The pause when a caller could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Starts accepting callers.
pub fn start(callers: &Arc<Callers>, proxy: &Arc<Proxy>) {
    let listeners = callers.backlog.listeners();
    if listeners.is_empty() {
        return;
    }
    let (callers, proxy) = (Arc::clone(callers), Arc::clone(proxy));
    tokio::spawn(async move {
        tokio::select! {
            () = callers.dismissed() => {}
            () = accept_callers(listeners, &callers, &proxy) => {}
        }
    });
}

async fn accept_callers(listeners: Arc<[Listener]>, callers: &Arc<Callers>, proxy: &Arc<Proxy>) {
    let mut is_exhausted = false;
    loop {
        match next_arrival(&listeners).await {
            Ok(Accepted::Client(Arrival { socket, peer, .. })) if peer.is_this_process() => {
                refuse_client(&socket, proxy);
            }
            Ok(Accepted::Client(Arrival { socket, peer, .. })) => {
                is_exhausted = false;
                let stream = match socket.to_unix() {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(ERROR = %error, "a caller was lost: {error}");
                        continue;
                    }
                };
                let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                let (seat, evicted) = callers.enter(user);
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
                // Once, until the next one is accepted.
                if !std::mem::replace(&mut is_exhausted, true) {
                    tracing::warn!(ERROR = %error, "cannot accept a caller: {error}; it waits");
                }
                callers.make_room();
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            Ok(Accepted::Gone | Accepted::NoClient) => {}
            Err(error) => {
                tracing::error!(ERROR = %error, "the control socket is broken: {error}");
                return;
            }
        }
    }
}

/// Resets a caller that is this proxy itself, because its target leads to the control socket: it would send what a
/// client sends, but with the rights of the proxy.
fn refuse_client(socket: &ClientSocket, proxy: &Proxy) {
    ending::reset_on_close(socket);
    if !proxy.route.connector.loops.is_report_due() {
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

/// Answers a call that is too long. The caller is still sending, and would see a reset instead of the answer if
/// nothing received that.
async fn refuse_long_call(mut connection: VarlinkConnection) {
    let refusal = Reply::error(qualified("CallTooLong"), json!({ "limit": CALL_MAX }));
    if send(&mut connection, &refusal).await.is_ok() {
        connection.shutdown_write();
        let _ = timeout(PATIENCE, connection.discard(DISCARDED_MAX)).await;
    }
}

/// Answers the calls of one caller, one after the other.
async fn serve(stream: UnixStream, peer: Peer, seat: Seat, proxy: &Arc<Proxy>) {
    let mut connection = VarlinkConnection::new(stream, CALL_MAX);
    let mut claim: Option<TakeOverClaim> = None;
    loop {
        let answered = match timeout(PATIENCE, connection.receive::<Call>()).await {
            Ok(Ok(Some(call))) if call.method == qualified("HandOver") => {
                let callers = &seat.callers;
                succession::hand_over(&call, &mut connection, proxy, callers, &peer, &mut claim)
                    .await
            }
            Ok(Ok(Some(call))) if call.method == qualified("Retire") => {
                match succession::may_retire(&call, claim.as_ref()) {
                    None => return succession::retire(call, connection, proxy, &seat.callers),
                    Some(refusal) => send(&mut connection, &refusal).await,
                }
            }
            Ok(Ok(Some(call))) => {
                let answered = match seat.begin(methods::waits(&call)) {
                    None => methods::answer(&call, &mut connection, proxy).await,
                    Some(refusal) => send(&mut connection, &refusal).await,
                };
                seat.set_silent();
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
