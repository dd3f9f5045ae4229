//! The state of a connection that both ends share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::bytes::Bytes;
use crate::event::Event;
use crate::failure::Failure;
use crate::plan::Plan;

/// The first bytes of each of our clients; its number follows.
const MAGIC: [u8; 8] = *b"verified";

/// The length of both.
pub const GREETING: usize = 16;

/// The task of the two ends.
#[derive(Debug)]
pub enum Role {
    Stream(Box<Plan>),
    /// The upstream echoes these bytes of the client.
    Echo(Bytes),
}

/// The result for the upstream.
pub type Verdict = Result<(), Failure>;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub group: &'static str,
    pub role: Role,
    pub begun: Instant,
    /// Its client has lost a connection before.
    pub again: Cell<bool>,
    /// The upstream has identified it.
    pub heard: Event,
    /// Both ends have received everything; streams only.
    pub complete: Event,
    /// The client's address.
    pub client: Cell<Option<SocketAddr>>,
    /// Bytes received by the upstream, and by the client.
    pub up: Cell<u64>,
    pub down: Cell<u64>,
    /// When the last of them arrived.
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

    /// The greeting of its client.
    pub fn greeting(&self) -> [u8; GREETING] {
        let mut greeting = [0; GREETING];
        greeting[..8].copy_from_slice(&MAGIC);
        greeting[8..].copy_from_slice(&self.id.to_be_bytes());
        greeting
    }

    /// Counts bytes that one end has received.
    pub fn moved(&self, counter: &Cell<u64>, count: u64, now: Instant) {
        counter.set(counter.get() + count);
        self.last.set(now);
    }

    /// Records a receive.
    pub fn may_be_complete(&self) {
        if let Role::Stream(plan) = &self.role {
            let moved = (self.up.get(), self.down.get());
            if moved == (plan.client.amount, plan.upstream.amount) {
                self.complete.tell();
            }
        }
    }

    /// Sets the task of the upstream's end.
    pub fn is_served_by(&self, task: AbortHandle) {
        *self.upstream.borrow_mut() = Some(task);
    }

    /// Passes the upstream's result to the client's end; the first one counts.
    pub fn is_over(&self, verdict: Verdict) {
        if let Some(sender) = self.verdict.borrow_mut().take() {
            // The client may have given up.
            let _ = sender.send(verdict);
        }
    }

    /// The upstream's end is done.
    pub fn abort_upstream(&self) {
        if let Some(task) = self.upstream.borrow_mut().take() {
            task.abort();
        }
    }
}

/// The connection of a greeting.
pub fn greeted(greeting: &[u8]) -> Option<u64> {
    let id = greeting.strip_prefix(&MAGIC)?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}
