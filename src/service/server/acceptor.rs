//! Accepting clients; a task of its own serves each of them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::client::ServedClient;
use super::handler::ClientHandler;
use crate::service::accepting_pause::AcceptingPause;
use crate::service::alarm::Alarm;
use crate::service::ending;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::places::{ClientPlace, ClientPlaces};
use crate::service::serve::Service;

/// The most clients that are accepted before other tasks have their turn.
const BATCH: usize = 32;

/// The task of a client. If it is dropped before its end, the connection is cut off, by a reset.
struct ClientTask {
    client: ServedClient,
    is_over: bool,
    // Dropped last, so that the socket is closed before it is counted as closed.
    _place: ClientPlace,
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
    places: Arc<ClientPlaces>,
    listeners: Arc<[Listener]>,
    handler: Arc<H>,
    /// The index of the last listener: each has its turn.
    turn: usize,
}

impl<H: ClientHandler> ServerAcceptor<H> {
    pub(super) fn new(places: Arc<ClientPlaces>, listeners: Arc<[Listener]>, handler: H) -> Self {
        Self {
            places,
            listeners,
            handler: Arc::new(handler),
            turn: 0,
        }
    }

    /// Accepts clients until a listener breaks.
    pub(super) async fn accept(mut self, alarm: Alarm) {
        if let Err(error) = self.accept_all(alarm).await {
            self.places
                .fail(format!("no client can be accepted: {error}"));
        }
    }

    async fn accept_all(&mut self, alarm: Alarm) -> io::Result<()> {
        let mut pause = AcceptingPause::new(Arc::clone(&self.places), alarm);
        loop {
            let is_paused = pause.is_under_way();
            tokio::select! {
                biased;
                () = pause.change() => {}
                batch = poll_fn(|context| self.accept_batch(context)), if !is_paused => {
                    if let Some(error) = batch? {
                        pause.begin(&error);
                    }
                }
            }
            // The life cycle first checks whether the server is still in use.
            tokio::task::yield_now().await;
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
        if !self.places.may_accept() {
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
        let place = self.places.place();
        let id = place.id;
        let peer = &arrival.peer;
        tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id}: {peer}");
        match ServedClient::of(arrival) {
            Ok(client) => {
                let task = ClientTask {
                    client,
                    is_over: false,
                    _place: place,
                };
                tokio::spawn(task.run(Arc::clone(&self.handler)));
            }
            Err(error) => log_lost(&error),
        }
    }
}
