//! The callers that are connected to the control socket.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::places::{Activity, Places};
use crate::interface::qualified;
use crate::proxy::admission::Backlog;
use crate::service::listener::{Listener, Peer};
use crate::service::mutex;
use crate::service::varlink::{Reply, VarlinkConnection};

/// The most callers at a time. For one more, another one makes room ([`Places`]).
const CALLERS_MAX: usize = 256;

/// How long a caller may be silent, or not take what is sent to it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// All callers, and the sockets that they call.
pub struct Callers {
    /// The control sockets, on which callers wait.
    pub backlog: Backlog,
    /// Dropping a sender evicts its caller.
    places: Mutex<Places<oneshot::Sender<()>>>,
    gone: Notify,
    dismissal: watch::Sender<bool>,
    /// The one caller that may be taking over.
    pub claim: Mutex<Option<Peer>>,
}

impl Callers {
    pub fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            backlog: Backlog::new(listeners),
            places: Mutex::new(Places::new(CALLERS_MAX)),
            gone: Notify::new(),
            dismissal: watch::Sender::default(),
            claim: Mutex::default(),
        }
    }

    pub fn count(&self) -> usize {
        mutex::lock(&self.places).len()
    }

    /// Waits until the last caller has left.
    pub async fn all_gone(&self) {
        self.gone.notified().await;
    }

    /// Leaves the control sockets to another process, and hangs up on all callers.
    pub fn dismiss(&self) {
        self.backlog.leave();
        self.dismissal.send_replace(true);
    }

    /// Waits for [`Self::dismiss`].
    pub async fn dismissed(&self) {
        // It fails only without the sender, which is ours.
        let mut dismissal = self.dismissal.subscribe();
        let _ = dismissal.wait_for(|dismissed| *dismissed).await;
    }

    /// Seats a new caller of this user. The receiver resolves when the caller has to make room.
    pub fn enter(self: &Arc<Self>, user: u32) -> (Seat, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let (number, _) = mutex::lock(&self.places).enter(user, sender);
        let callers = Arc::clone(self);
        (Seat { number, callers }, evicted)
    }

    /// Evicts one caller because no other can be accepted.
    pub fn make_room(&self) {
        mutex::lock(&self.places).evict();
    }
}

/// The place of one caller.
pub struct Seat {
    number: u64,
    pub callers: Arc<Callers>,
}

impl Seat {
    /// The caller has no call any more, and can be evicted.
    pub fn set_silent(&self) {
        mutex::lock(&self.callers.places).set(self.number, Activity::Silent);
    }

    /// The caller is about to be answered. Returns a refusal if its call `waits` and too many do already.
    pub fn begin(&self, waits: bool) -> Option<Reply> {
        let mut places = mutex::lock(&self.callers.places);
        if !waits {
            places.set(self.number, Activity::Answered);
            return None;
        }
        let limit = places.begin_wait(self.number).err()?;
        let parameters = serde_json::json!({ "limit": limit });
        Some(Reply::error(qualified("TooManyCallers"), parameters))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut places = mutex::lock(&self.callers.places);
        places.leave(self.number);
        if places.len() == 0 {
            self.callers.gone.notify_one();
        }
    }
}

/// Sends a message, unless the caller does not take it in time.
pub async fn send(
    connection: &mut VarlinkConnection,
    message: &impl serde::Serialize,
) -> io::Result<()> {
    timeout(PATIENCE, connection.send(message)).await?
}
