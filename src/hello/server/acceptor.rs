//! Accepting clients; a task of its own serves each of them.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use super::conversation::converse;
use super::state::Server;
use crate::service::alarm::Alarm;
use crate::service::client_socket::ClientSocket;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::exhausted::Pause;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::serve::Service;
use crate::service::stream::Stream;

/// The most clients that are accepted before other tasks have their turn.
const BATCH: usize = 32;

/// One client, counted until this is dropped.
struct ServedClient {
    /// Taken when it is dropped, so that it is closed before it is counted as closed.
    socket: Option<ClientSocket>,
    server: Arc<Server>,
    /// The conversation is over; otherwise it is cut off, by a reset.
    is_served: bool,
}

impl Drop for ServedClient {
    fn drop(&mut self) {
        if let (Some(socket), false) = (&self.socket, self.is_served) {
            ending::reset_on_close(socket);
        }
        drop(self.socket.take());
        self.server.open.fetch_sub(1, Relaxed);
        self.server.room.notify_one();
        self.server.changed.notify_one();
    }
}

/// Accepts clients from all listeners until one of them breaks.
pub(super) async fn accept(server: Arc<Server>, listeners: Arc<[Listener]>, alarm: Alarm) {
    if let Err(error) = accept_all(&server, &listeners, alarm).await {
        let failure = format!("no client can be accepted: {error}");
        let _ = server.failure.set(failure);
        server.changed.notify_one();
    }
}

async fn accept_all(
    server: &Arc<Server>,
    listeners: &[Listener],
    mut alarm: Alarm,
) -> io::Result<()> {
    let mut pause = Pause::default();
    // The index of the last listener: each has its turn.
    let mut turn = 0;
    loop {
        let paused = pause.until().is_some();
        tokio::select! {
            biased;
            () = server.room.notified() => {
                pause.end();
                server.paused.store(false, Relaxed);
                // The life cycle first checks whether the server is still in use.
                tokio::task::yield_now().await;
            }
            batch = poll_fn(|context| accept_batch(server, listeners, &mut turn, context)), if !paused => {
                if let Some(error) = batch? {
                    server.paused.store(true, Relaxed);
                    pause.begin(Uptime::now(), &error, server.open());
                }
                tokio::task::yield_now().await;
            }
            () = alarm.wait(pause.until()) => {
                if pause.is_over(Uptime::now()) {
                    server.paused.store(false, Relaxed);
                }
            }
        }
    }
}

/// Accepts at most a batch of clients. Pending while none waits or may be accepted; the inner error: no descriptors.
fn accept_batch(
    server: &Arc<Server>,
    listeners: &[Listener],
    turn: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<io::Error>>> {
    for accepted in 0..BATCH {
        match accept_next(server, listeners, turn, context)? {
            Accepted::Client(arrival) => serve(server, arrival),
            Accepted::Gone => {}
            Accepted::NoClient if accepted == 0 => return Poll::Pending,
            Accepted::NoClient => break,
            Accepted::Exhausted(error) => return Poll::Ready(Ok(Some(error))),
        }
    }
    Poll::Ready(Ok(None))
}

/// Accepts the next client, from each listener in turn.
fn accept_next(
    server: &Server,
    listeners: &[Listener],
    turn: &mut usize,
    context: &mut Context<'_>,
) -> io::Result<Accepted> {
    if !server.may_accept() {
        return Ok(Accepted::NoClient);
    }
    for _ in 0..listeners.len() {
        *turn = (*turn + 1) % listeners.len();
        match listeners[*turn].accept(context)? {
            Accepted::NoClient => {}
            accepted => return Ok(accepted),
        }
    }
    Ok(Accepted::NoClient)
}

/// Serves a client on this thread.
fn serve(server: &Arc<Server>, Arrival { socket, peer, .. }: Arrival) {
    server.open.fetch_add(1, Relaxed);
    server.changed.notify_one();
    let id = server.accepted.fetch_add(1, Relaxed) + 1;
    tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id}: {peer}");
    let client = ServedClient {
        socket: Some(socket),
        server: Arc::clone(server),
        is_served: false,
    };
    tokio::spawn(attend(client));
}

async fn attend(mut client: ServedClient) {
    let Some(socket) = &client.socket else {
        return;
    };
    let conversation =
        async { converse(&Stream::of(socket.as_fd())?, &client.server.greeting).await };
    if let Err(error) = conversation.await {
        tracing::debug!(ERROR = %error, "a client was lost: {error}");
    }
    client.is_served = true;
}
