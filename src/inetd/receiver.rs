//! Receiving clients, and starting a process for each of them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use super::command::ClientCommand;
use super::process::ReceivedClient;
use crate::service::accepting_pause::AcceptingPause;
use crate::service::alarm::Alarm;
use crate::service::child_process::is_for_lack_of_room;
use crate::service::clock::Uptime;
use crate::service::exhausted::LOG_EVERY;
use crate::service::listener::{Accepted, Listener};
use crate::service::places::ClientPlaces;
use crate::service::serve::Service;

pub(super) struct ClientReceiver {
    places: Arc<ClientPlaces>,
    listeners: Arc<[Listener]>,
    command: ClientCommand,
    pause: AcceptingPause,
    /// The client whose process could not be started for lack of room: it is the next one.
    held: Option<ReceivedClient>,
    /// When it was last logged that the program cannot be started.
    logged: Option<Uptime>,
}

impl ClientReceiver {
    /// Fails when descriptors have run out.
    pub(super) fn new(
        places: Arc<ClientPlaces>,
        listeners: Arc<[Listener]>,
        command: ClientCommand,
    ) -> io::Result<Self> {
        Ok(Self {
            pause: AcceptingPause::new(Arc::clone(&places), Alarm::new()?),
            places,
            listeners,
            command,
            held: None,
            logged: None,
        })
    }

    /// Receives clients until the end begins, or a listener breaks.
    pub(super) async fn accept(mut self) {
        if let Err(error) = self.accept_all().await {
            let why = format!("no client can be received: {error}");
            self.places.fail(why);
        }
    }

    async fn accept_all(&mut self) -> io::Result<()> {
        while !self.places.is_stopping() {
            let is_paused = self.pause.is_under_way();
            if let Some(client) = self.held.take_if(|_| !is_paused) {
                self.serve(client);
                continue;
            }
            tokio::select! {
                biased;
                () = self.pause.change() => {}
                accepted = next_client(&self.places, &self.listeners), if !is_paused => {
                    self.take(accepted?);
                }
            }
            // The life cycle may have something to do.
            tokio::task::yield_now().await;
        }
        if let Some(client) = self.held.take() {
            client.give_back();
        }
        Ok(())
    }

    fn take(&mut self, accepted: Accepted) {
        match accepted {
            Accepted::Client(arrival) => {
                let client = ReceivedClient::new(arrival, self.places.place());
                self.serve(client);
            }
            Accepted::Exhausted(error) => self.begin_pause(&format!("{error} (raise LimitNOFILE=")),
            Accepted::Gone | Accepted::NoClient => {}
        }
    }

    fn serve(&mut self, client: ReceivedClient) {
        let Err((client, error)) = client.serve(&self.command) else {
            return;
        };
        if is_for_lack_of_room(&error) {
            let name = self.command.name();
            self.begin_pause(&format!(
                "{name} cannot be started: {error} (raise TasksMax="
            ));
            self.held = Some(client);
            return;
        }
        let now = Uptime::now();
        if self.logged.is_none_or(|logged| logged + LOG_EVERY <= now) {
            self.logged = Some(now);
            let name = self.command.name();
            tracing::error!(
                ERROR = %error,
                "{name} cannot be started: {error}; its clients go back to the proxy, which tries again"
            );
        }
        client.give_back();
    }

    /// Begins a pause; `why` has an opening bracket.
    fn begin_pause(&mut self, why: &str) {
        let error = io::Error::other(format!("{why} or lower --processes-max)"));
        self.pause.begin(&error);
    }
}

/// Receives the next client that may be received. Cancel safe. Fails as [`Listener::accept`].
async fn next_client(places: &ClientPlaces, listeners: &[Listener]) -> io::Result<Accepted> {
    poll_fn(|context| {
        for listener in listeners {
            // What changes this wakes the caller.
            if !places.may_accept() {
                break;
            }
            match listener.accept(context)? {
                Accepted::NoClient => {}
                accepted => return Poll::Ready(Ok(accepted)),
            }
        }
        Poll::Pending
    })
    .await
}
