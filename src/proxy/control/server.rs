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

use rustix::net::SendFlags;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::api::qualified;
use super::methods;
use super::succession::{self, Claim};
use crate::proxy::shell::Proxy;
use crate::service::handover::ClientSocket;
use crate::service::listener::{Accepted, Arrival, Listener, Peer};
use crate::service::varlink::{Call, Connection, Reply};

/// The longest call, in bytes.
const CALL_LIMIT: usize = 64 * 1024;

/// The most callers at a time. When one more comes, the one that has been silent for longest goes.
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
        self.callers.slots().open.len()
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

#[derive(Default)]
struct Slots {
    next: u64,
    open: BTreeMap<u64, Option<oneshot::Sender<()>>>,
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

    /// Makes room for one more caller; `None` if all are being served.
    fn enter(self: &Arc<Self>) -> Option<Slot> {
        let mut slots = self.slots();
        if slots.open.len() >= CALLERS_MAX {
            // Numbers are given anew with each call, so that the first is silent for longest.
            let silent = slots.open.iter().find(|(_, evict)| evict.is_some());
            let number = *silent?.0;
            slots.open.remove(&number);
        }
        let number = slots.next;
        slots.next += 1;
        slots.open.insert(number, None);
        Some(Slot {
            number,
            callers: Arc::clone(self),
        })
    }
}

/// The place of one caller.
struct Slot {
    number: u64,
    callers: Arc<Callers>,
}

impl Slot {
    /// The caller is silent: it can be told to go to make room. Resolves when it is.
    fn silent(&mut self) -> oneshot::Receiver<()> {
        let (evict, evicted) = oneshot::channel();
        let mut slots = self.callers.slots();
        // Whoever was told to go in the meantime has no place any more, and stays told.
        if slots.open.remove(&self.number).is_some() {
            self.number = slots.next;
            slots.next += 1;
            slots.open.insert(self.number, Some(evict));
        }
        evicted
    }

    /// The caller is being served.
    fn busy(&self) {
        if let Some(evict) = self.callers.slots().open.get_mut(&self.number) {
            *evict = None;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.callers.slots();
        slots.open.remove(&self.number);
        if slots.open.is_empty() {
            self.callers.gone.notify_one();
        }
    }
}

async fn accept_callers(listeners: Arc<[Listener]>, callers: &Arc<Callers>, proxy: &Arc<Proxy>) {
    loop {
        match next_caller(&listeners).await {
            Ok(Accepted::Client(Arrival { socket, peer })) => {
                let stream = match into_unix(socket) {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(ERROR = %error, "a caller was lost: {error}");
                        continue;
                    }
                };
                match callers.enter() {
                    Some(slot) => {
                        let (callers, proxy) = (Arc::clone(callers), Arc::clone(proxy));
                        tokio::spawn(async move {
                            tokio::select! {
                                () = callers.dismissed() => {}
                                () = serve(stream, peer, slot, &proxy) => {}
                            }
                        });
                    }
                    None => {
                        tracing::warn!(PEER = %peer, "a caller was sent away: {CALLERS_MAX} are served");
                        send_away(&stream);
                    }
                }
            }
            Ok(Accepted::Exhausted(error)) => {
                tracing::warn!(ERROR = %error, "cannot accept a caller: {error}; it waits");
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

/// Tells a caller why it is not served. A new socket has room for it; one that has not is no loss.
fn send_away(stream: &UnixStream) {
    let refusal = Reply::error(
        qualified("TooManyCallers"),
        serde_json::json!({ "limit": CALLERS_MAX }),
    );
    if let Ok(mut message) = serde_json::to_vec(&refusal) {
        message.push(0);
        let _ = rustix::net::send(stream, &message, SendFlags::NOSIGNAL);
    }
}

fn into_unix(socket: ClientSocket) -> io::Result<UnixStream> {
    let socket = socket.as_fd().try_clone_to_owned()?;
    UnixStream::from_std(StdUnixStream::from(socket))
}

/// Answers one caller's calls, one after the other.
async fn serve(stream: UnixStream, peer: Peer, mut slot: Slot, proxy: &Arc<Proxy>) {
    let mut connection = Connection::new(stream, CALL_LIMIT);
    let mut claim: Option<Claim> = None;
    loop {
        let evicted = slot.silent();
        let call = tokio::select! {
            received = timeout(PATIENCE, connection.receive::<Call>()) => received,
            _ = evicted => return,
        };
        slot.busy();
        let answered = match call {
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
            Ok(Ok(Some(call))) => methods::answer(&call, &mut connection, proxy).await,
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
