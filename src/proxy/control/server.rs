//! The callers of the control socket. Each is a task of its own, so that one that is broken or
//! hostile holds up nobody, and each costs a bounded amount.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::methods;
use super::places::Places;
use super::succession::{self, Claim};
use crate::interface::qualified;
use crate::proxy::shell::Proxy;
use crate::service::handover::ClientSocket;
use crate::service::listener::{Accepted, Arrival, Listener, Peer};
use crate::service::varlink::{Call, Connection, Reply};

/// The longest call, in bytes.
const CALL_LIMIT: usize = 64 * 1024;

/// The most callers at a time. When one more comes, another one makes room ([`Places`]).
const CALLERS_MAX: usize = 256;

/// How long a caller may be silent, or not take what is sent to it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause when a caller could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The control sockets and those who call on them.
pub struct ControlServer {
    callers: Arc<Callers>,
}

impl ControlServer {
    /// A server on these sockets; without any, nobody can call.
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            callers: Arc::new(Callers {
                listeners: Mutex::new(listeners.into()),
                ..Callers::default()
            }),
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
        self.callers.slots().places.len()
    }

    /// Whether somebody is about to call.
    pub fn has_waiting(&self) -> bool {
        self.callers.listeners().iter().any(Listener::has_waiting)
    }

    /// Waits until the last caller has gone.
    pub async fn changed(&self) {
        self.callers.gone.notified().await;
    }
}

/// Everybody who is connected.
#[derive(Default)]
pub(super) struct Callers {
    listeners: Mutex<Arc<[Listener]>>,
    slots: Mutex<Slots>,
    gone: Notify,
    dismissal: watch::Sender<bool>,
    /// The place for the one caller that may be taking over.
    pub(super) claim: Mutex<Option<Peer>>,
}

#[derive(Debug)]
struct Slots {
    places: Places,
    /// How each of them is told to go.
    evictions: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            places: Places::new(CALLERS_MAX),
            evictions: BTreeMap::new(),
        }
    }
}

impl Slots {
    /// This one has to go: it hears of it as its sender is dropped.
    fn evict(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.evictions.remove(&number);
        }
    }
}

impl Callers {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners_mut(&self) -> MutexGuard<'_, Arc<[Listener]>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The control sockets; none once another process has them.
    pub(super) fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&self.listeners_mut())
    }

    /// Leaves the control sockets to another process, and hangs up on everybody.
    pub(super) fn dismiss(&self) {
        let listeners = std::mem::take(&mut *self.listeners_mut());
        listeners.iter().for_each(Listener::leave);
        self.dismissal.send_replace(true);
    }

    async fn dismissed(&self) {
        // The sender is ours: it is there as long as we are.
        let _ = self
            .dismissal
            .subscribe()
            .wait_for(|dismissed| *dismissed)
            .await;
    }

    /// A caller of this user has come: its place, and what resolves when it has to make room.
    fn enter(self: &Arc<Self>, user: u32) -> (Slot, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let mut slots = self.slots();
        let (number, makes_room) = slots.places.enter(user);
        slots.evict(makes_room);
        slots.evictions.insert(number, sender);
        let callers = Arc::clone(self);
        (Slot { number, callers }, evicted)
    }

    /// Nobody more can come before somebody has gone.
    fn make_room(&self) {
        let mut slots = self.slots();
        let makes_room = slots.places.evict();
        slots.evict(makes_room);
    }
}

/// The place of one caller.
struct Slot {
    number: u64,
    callers: Arc<Callers>,
}

impl Slot {
    /// The caller has no call that waits: it can be told to go to make room.
    fn silent(&self) {
        self.callers.slots().places.silent(self.number);
    }

    /// The caller is about to be answered. The refusal, if its call would wait as one too many.
    fn begin(&self, call: &Call) -> Option<Reply> {
        let places = &mut self.callers.slots().places;
        if !methods::waits(call) {
            places.answered(self.number);
            return None;
        }
        let limit = places.waits(self.number).err()?;
        Some(Reply::error(
            qualified("TooManyCallers"),
            serde_json::json!({ "limit": limit }),
        ))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.callers.slots();
        slots.places.leave(self.number);
        slots.evictions.remove(&self.number);
        if slots.places.is_empty() {
            self.callers.gone.notify_one();
        }
    }
}

async fn accept_callers(listeners: Arc<[Listener]>, callers: &Arc<Callers>, proxy: &Arc<Proxy>) {
    loop {
        match next_caller(&listeners).await {
            Ok(Accepted::Client(Arrival { socket, peer, .. })) => {
                let stream = match into_unix(socket) {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(ERROR = %error, "a caller was lost: {error}");
                        continue;
                    }
                };
                let (slot, evicted) = callers.enter(user(&stream));
                let (callers, proxy) = (Arc::clone(callers), Arc::clone(proxy));
                tokio::spawn(async move {
                    tokio::select! {
                        () = callers.dismissed() => {}
                        _ = evicted => {}
                        () = serve(stream, peer, slot, &proxy) => {}
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

/// Answers one caller's calls, one after the other.
async fn serve(stream: UnixStream, peer: Peer, slot: Slot, proxy: &Arc<Proxy>) {
    let mut connection = Connection::new(stream, CALL_LIMIT);
    let mut claim: Option<Claim> = None;
    loop {
        let answered = match timeout(PATIENCE, connection.receive::<Call>()).await {
            Ok(Ok(Some(call))) if call.method == qualified("HandOver") => {
                let callers = &slot.callers;
                succession::hand_over(&call, &mut connection, proxy, callers, &peer, &mut claim)
                    .await
            }
            Ok(Ok(Some(call))) if call.method == qualified("Retire") => {
                match succession::may_retire(&call, claim.as_ref()) {
                    None => return succession::retire(connection, proxy, &slot.callers),
                    Some(refusal) => send(&mut connection, &refusal).await,
                }
            }
            Ok(Ok(Some(call))) => {
                let answered = match slot.begin(&call) {
                    None => methods::answer(&call, &mut connection, proxy).await,
                    Some(refusal) => send(&mut connection, &refusal).await,
                };
                slot.silent();
                answered
            }
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(ERROR = %error, "a caller was sent away: {error}");
                return;
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

/// Sends a message, unless the caller does not take it in time.
pub(super) async fn send(
    connection: &mut Connection,
    message: &impl serde::Serialize,
) -> io::Result<()> {
    timeout(PATIENCE, connection.send(message)).await?
}
