//! Who is connected to the control socket, and since when it is another process's.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::places::Places;
use crate::interface::qualified;
use crate::service::listener::{Listener, Peer};
use crate::service::varlink::{Reply, VarlinkConnection};

/// The most callers at a time. When one more comes, another one makes room ([`Places`]).
const CALLERS_MAX: usize = 256;

/// How long a caller may be silent, or not take what is sent to it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Everybody who is connected.
#[derive(Default)]
pub struct Callers {
    listeners: Mutex<Arc<[Listener]>>,
    seats: Mutex<Seats>,
    gone: Notify,
    dismissal: watch::Sender<bool>,
    /// The place for the one caller that may be taking over.
    pub claim: Mutex<Option<Peer>>,
}

#[derive(Debug)]
struct Seats {
    places: Places,
    /// How each of them is told to go.
    evictions: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            places: Places::new(CALLERS_MAX),
            evictions: BTreeMap::new(),
        }
    }
}

impl Seats {
    /// This one has to go: it hears of it as its sender is dropped.
    fn evict(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.evictions.remove(&number);
        }
    }
}

impl Callers {
    /// Callers of these sockets.
    pub fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners: Mutex::new(listeners),
            ..Self::default()
        }
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.seats().places.len()
    }

    /// Waits until the last one has gone.
    pub async fn all_gone(&self) {
        self.gone.notified().await;
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners_mut(&self) -> MutexGuard<'_, Arc<[Listener]>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The control sockets; none once another process has them.
    pub fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&self.listeners_mut())
    }

    /// Leaves the control sockets to another process, and hangs up on everybody.
    pub fn dismiss(&self) {
        let listeners = std::mem::take(&mut *self.listeners_mut());
        listeners.iter().for_each(Listener::leave);
        self.dismissal.send_replace(true);
    }

    /// Waits until everybody is to hang up.
    pub async fn dismissed(&self) {
        // The sender is ours: it is there as long as we are.
        let _ = self
            .dismissal
            .subscribe()
            .wait_for(|dismissed| *dismissed)
            .await;
    }

    /// A caller of this user has come: its place, and what resolves when it has to make room.
    pub fn enter(self: &Arc<Self>, user: u32) -> (Seat, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let mut seats = self.seats();
        let (number, makes_room) = seats.places.enter(user);
        seats.evict(makes_room);
        seats.evictions.insert(number, sender);
        let callers = Arc::clone(self);
        (Seat { number, callers }, evicted)
    }

    /// Nobody more can come before somebody has gone.
    pub fn make_room(&self) {
        let mut seats = self.seats();
        let makes_room = seats.places.evict();
        seats.evict(makes_room);
    }
}

/// The place of one caller.
pub struct Seat {
    number: u64,
    /// Everybody.
    pub callers: Arc<Callers>,
}

impl Seat {
    /// The caller has no call that waits: it can be told to go to make room.
    pub fn silent(&self) {
        self.callers.seats().places.silent(self.number);
    }

    /// The caller is about to be answered. The refusal, if its call waits and would be one too many.
    pub fn begin(&self, waits: bool) -> Option<Reply> {
        let places = &mut self.callers.seats().places;
        if !waits {
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

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.callers.seats();
        seats.places.leave(self.number);
        seats.evictions.remove(&self.number);
        if seats.places.is_empty() {
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
