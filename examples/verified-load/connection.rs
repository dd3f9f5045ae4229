//! What both ends of a connection know of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::bytes::Bytes;
use crate::event::Event;
use crate::failure::Failure;
use crate::plan::Plan;

/// How the connection of one of our clients begins: with these bytes, and its number.
const MAGIC: [u8; 8] = *b"verified";

/// How long that is.
pub const GREETING: usize = 16;

/// What the two ends are to do.
#[derive(Debug)]
pub enum Role {
    Stream(Box<Plan>),
    /// The client says this, and everything is echoed.
    Echo(Bytes),
}

/// How it ended for the upstream.
pub type Verdict = Result<(), Failure>;

/// One connection, as long as it lasts.
#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub group: &'static str,
    pub role: Role,
    pub begun: Instant,
    /// Its client has been here before, and was lost.
    pub again: Cell<bool>,
    /// The upstream has heard which one it is.
    pub heard: Event,
    /// Both have heard everything: of a stream alone.
    pub complete: Event,
    /// Where the client is.
    pub client: Cell<Option<SocketAddr>>,
    /// Bytes that have come to the upstream, and to the client.
    pub up: Cell<u64>,
    pub down: Cell<u64>,
    /// When the last of them came.
    pub last: Cell<Instant>,
    verdict: RefCell<Option<oneshot::Sender<Verdict>>>,
    upstream: RefCell<Option<AbortHandle>>,
}

impl Connection {
    pub fn new(id: u64, group: &'static str, role: Role) -> (Self, oneshot::Receiver<Verdict>) {
        let (verdict, told) = oneshot::channel();
        let now = Instant::now();
        let connection = Self {
            id,
            group,
            role,
            begun: now,
            again: Cell::new(false),
            heard: Event::default(),
            complete: Event::default(),
            client: Cell::new(None),
            up: Cell::new(0),
            down: Cell::new(0),
            last: Cell::new(now),
            verdict: RefCell::new(Some(verdict)),
            upstream: RefCell::new(None),
        };
        (connection, told)
    }

    /// What its client says first.
    pub fn greeting(&self) -> [u8; GREETING] {
        let mut greeting = [0; GREETING];
        greeting[..8].copy_from_slice(&MAGIC);
        greeting[8..].copy_from_slice(&self.id.to_be_bytes());
        greeting
    }

    /// So many bytes have come to one end.
    pub fn moved(&self, counter: &Cell<u64>, count: u64, now: Instant) {
        counter.set(counter.get() + count);
        self.last.set(now);
    }

    /// Something has been heard.
    pub fn may_be_complete(&self) {
        if let Role::Stream(plan) = &self.role
            && self.up.get() == plan.client.amount
            && self.down.get() == plan.upstream.amount
        {
            self.complete.tell();
        }
    }

    /// The upstream's end is carried out by this task.
    pub fn is_served_by(&self, task: AbortHandle) {
        *self.upstream.borrow_mut() = Some(task);
    }

    /// Tells the client's end how it went; the first word counts.
    pub fn is_over(&self, verdict: Verdict) {
        if let Some(sender) = self.verdict.borrow_mut().take() {
            // The client may have given up.
            let _ = sender.send(verdict);
        }
    }

    /// There is nothing left to do for the upstream.
    pub fn abort_upstream(&self) {
        if let Some(task) = self.upstream.borrow_mut().take() {
            task.abort();
        }
    }
}

/// Which connection a greeting is of.
pub fn greeted(greeting: &[u8]) -> Option<u64> {
    let id = greeting.strip_prefix(&MAGIC)?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}
