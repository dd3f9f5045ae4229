//! Accepting clients; a task of its own serves each of them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use super::client::ServedClient;
use super::handler::ClientHandler;
use super::state::ServerState;
use crate::service::alarm::Alarm;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::exhausted::Pause;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::serve::Service;

/// The most clients that are accepted before other tasks have their turn.
const BATCH: usize = 32;

/// An open connection, counted until this is dropped.
struct OpenConnection(Arc<ServerState>);

impl OpenConnection {
    fn begin(state: &Arc<ServerState>) -> Self {
        state.open.fetch_add(1, Relaxed);
        state.changed.notify_one();
        Self(Arc::clone(state))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.room.notify_one();
        self.0.changed.notify_one();
    }
}

/// The task of a client. If it is dropped before its end, the connection is cut off, by a reset.
struct ClientTask {
    client: ServedClient,
    is_over: bool,
    // Dropped last, so that the socket is closed before it is counted as closed.
    _connection: OpenConnection,
}

impl Drop for ClientTask {
    fn drop(&mut self) {
        if !self.is_over {
            ending::reset_on_close(&self.client);
        }
    }
}

impl ClientTask {
    async fn run<H: ClientHandler>(mut self, handler: Arc<H>) {
        if let Err(error) = handler.handle(&self.client).await {
            log_lost(&error);
        }
        self.is_over = true;
    }
}

fn log_lost(error: &io::Error) {
    tracing::debug!(ERROR = %error, "a client was lost: {error}");
}

/// Accepts clients from all listeners.
pub(super) struct ServerAcceptor<H> {
    state: Arc<ServerState>,
    listeners: Arc<[Listener]>,
    handler: Arc<H>,
    /// The index of the last listener: each has its turn.
    turn: usize,
}

impl<H: ClientHandler> ServerAcceptor<H> {
    pub(super) fn new(state: Arc<ServerState>, listeners: Arc<[Listener]>, handler: H) -> Self {
        Self {
            state,
            listeners,
            handler: Arc::new(handler),
            turn: 0,
        }
    }

    /// Accepts clients until a listener breaks.
    pub(super) async fn accept(mut self, alarm: Alarm) {
        if let Err(error) = self.accept_all(alarm).await {
            let failure = format!("no client can be accepted: {error}");
            let _ = self.state.failure.set(failure);
            self.state.changed.notify_one();
        }
    }

    async fn accept_all(&mut self, mut alarm: Alarm) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let mut pause = Pause::default();
        loop {
            let paused = pause.until().is_some();
            tokio::select! {
                biased;
                () = state.room.notified() => {
                    pause.end();
                    state.paused.store(false, Relaxed);
                    // The life cycle first checks whether the server is still in use.
                    tokio::task::yield_now().await;
                }
                batch = poll_fn(|context| self.accept_batch(context)), if !paused => {
                    if let Some(error) = batch? {
                        state.paused.store(true, Relaxed);
                        pause.begin(Uptime::now(), &error, state.open());
                    }
                    tokio::task::yield_now().await;
                }
                () = alarm.wait(pause.until()) => {
                    if pause.is_over(Uptime::now()) {
                        state.paused.store(false, Relaxed);
                    }
                }
            }
        }
    }

    /// Accepts at most a batch of clients. Pending while none waits or may be accepted; the inner error: no
    /// descriptors.
    fn accept_batch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<io::Error>>> {
        for accepted in 0..BATCH {
            match self.accept_next(context)? {
                Accepted::Client(arrival) => self.serve(arrival),
                Accepted::Gone => {}
                Accepted::NoClient if accepted == 0 => return Poll::Pending,
                Accepted::NoClient => break,
                Accepted::Exhausted(error) => return Poll::Ready(Ok(Some(error))),
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Accepts the next client, from each listener in turn.
    fn accept_next(&mut self, context: &mut Context<'_>) -> io::Result<Accepted> {
        if !self.state.may_accept() {
            return Ok(Accepted::NoClient);
        }
        for _ in 0..self.listeners.len() {
            self.turn = (self.turn + 1) % self.listeners.len();
            match self.listeners[self.turn].accept(context)? {
                Accepted::NoClient => {}
                accepted => return Ok(accepted),
            }
        }
        Ok(Accepted::NoClient)
    }

    fn serve(&self, arrival: Arrival) {
        let connection = OpenConnection::begin(&self.state);
        let id = self.state.accepted.fetch_add(1, Relaxed) + 1;
        let peer = &arrival.peer;
        tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id}: {peer}");
        match ServedClient::of(arrival) {
            Ok(client) => {
                let task = ClientTask {
                    client,
                    is_over: false,
                    _connection: connection,
                };
                tokio::spawn(task.run(Arc::clone(&self.handler)));
            }
            Err(error) => log_lost(&error),
        }
    }
}
