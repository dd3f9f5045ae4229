//! Serving clients until the server is not used or has to stop.

use std::sync::Arc;
use std::time::Duration;

use super::acceptor::ServerAcceptor;
use super::handler::ClientHandler;
use super::listeners::Listeners;
use crate::service::activation;
use crate::service::alarm::Alarm;
use crate::service::exhausted;
use crate::service::listener::Listener;
use crate::service::places::ClientPlaces;
use crate::service::program::{self, Failure};
use crate::service::serve::{Lifetime, Service, serve};

/// How long a silent client may be unreachable before it is taken for gone.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Descriptors that are not for connections.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors that serving needs beside the client's: for signals and times.
const DESCRIPTORS_TO_SERVE: usize = 4;

/// How long a server runs, and how many clients it serves at a time.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// How long no client was connected until the process ends, if all sockets come from systemd: the next client
    /// starts it again. `None`: never.
    pub exit_idle_time: Option<Duration>,
    /// How long open connections may go on after SIGTERM. A second signal ends them at once. `None`: as long as they
    /// want. systemd is asked for that time, whatever `TimeoutStopSec=` says.
    pub drain_timeout: Option<Duration>,
    /// The most connections open at a time; further clients wait in the backlog. At most as many as there are
    /// descriptors for (`LimitNOFILE=`).
    pub connections_max: usize,
}

impl Default for ServerLimits {
    /// It never exits for lack of use; 30 seconds for open connections, of which 16,384 are possible.
    fn default() -> Self {
        Self {
            exit_idle_time: None,
            drain_timeout: Some(Duration::from_secs(30)),
            connections_max: 16384,
        }
    }
}

/// Serves clients until no one has come for [`ServerLimits::exit_idle_time`], or a signal ends the server (SIGTERM,
/// SIGINT). It runs on the Tokio runtime of [`program::run`], or on another one with I/O and time.
///
/// systemd hears when it is ready, how many connections are open, and when it stops.
///
/// # Errors
///
/// When there are no sockets, descriptors are too few to serve anybody, or a socket breaks; the error is a sentence.
pub async fn serve_clients<H: ClientHandler>(
    listeners: Listeners,
    limits: ServerLimits,
    handler: H,
) -> Result<(), Failure> {
    let mut listeners = listeners.into_vec();
    if listeners.is_empty() {
        return Err(why_there_are_none().into());
    }
    let descriptors = program::raise_descriptor_limit();
    for listener in &mut listeners {
        listener.set_options(Some(KEEPALIVE))?;
    }
    // A handed-over client comes with a token.
    let descriptors_each = 1 + u64::from(listeners.iter().any(Listener::is_handover));
    let possible = program::share_descriptors(descriptors, DESCRIPTORS_RESERVED, descriptors_each);
    let connections_max = limits.connections_max.min(possible.max(1));
    let alarm = Alarm::new()?;
    exhausted::make_sure_of(DESCRIPTORS_TO_SERVE + descriptors_each as usize)?;
    let places = Arc::new(ClientPlaces::new(connections_max, status));
    let lifetime = Lifetime {
        exit_idle_time: limits.exit_idle_time,
        drain_timeout: limits.drain_timeout,
    };
    let listeners: Arc<[Listener]> = listeners.into();
    let acceptor = ServerAcceptor::new(Arc::clone(&places), Arc::clone(&listeners), handler);
    tokio::spawn(acceptor.accept(alarm));
    serve(places, listeners, lifetime).await?;
    Ok(())
}

/// The sentence of `systemctl status`.
fn status(places: &ClientPlaces, listeners: &[Listener]) -> String {
    let queues = listeners.iter().filter_map(Listener::queue);
    let queued: u32 = queues.map(|(queued, _)| queued).sum();
    format!("{} open, {queued} queued.", places.open())
}

fn why_there_are_none() -> String {
    activation::elsewhere().unwrap_or_else(|| {
        "no socket has come from systemd: a .socket unit or systemd-socket-activate(1) has to start this program"
            .to_owned()
    })
}
