//! A client that has passed the gate.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::connections::{Connected, Connection};
use super::shell::Proxy;
use super::upstream::Spare;
use crate::service::address::Address;

/// The pause before a client that came back is handed over again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A client that has passed the gate, counted until this is dropped, after its sockets are closed.
#[derive(Debug)]
pub struct Passed {
    connection: Option<Arc<Connection>>,
    /// For its upstream.
    pub spare: Spare,
    /// The proxy whose gate it has passed.
    pub proxy: Arc<Proxy>,
    /// When it came back from a handover for the first time, and how often it has.
    returned: Option<(Instant, u32)>,
}

impl Passed {
    /// One that is counted by now.
    pub fn new(connection: Arc<Connection>, spare: Spare, proxy: Arc<Proxy>) -> Self {
        Self {
            connection: Some(connection),
            spare,
            proxy,
            returned: None,
        }
    }

    /// The connection.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// The client's socket.
    pub fn client(&self) -> Option<BorrowedFd<'_>> {
        self.connection()
            .map(|connection| connection.client.as_fd())
    }

    /// Its upstream is connected.
    pub fn is_connected(&self, connected: Connected) {
        if let Some(connection) = self.connection() {
            connection.is_connected(connected);
        }
    }

    /// It goes on with this upstream, where an earlier process has left it.
    pub fn goes_on_with(&self, connected: Connected) {
        if let Some(connection) = self.connection() {
            connection.goes_on_with(connected);
        }
    }

    /// It was handed over, with the token of this slot.
    pub fn is_handed_over(&self, slot: u32, target: &Arc<Address>) {
        if let Some(connection) = self.connection()
            && connection.handed_over(slot, Arc::clone(target))
        {
            self.proxy.connections.cut_later(slot);
        }
    }

    /// It came back and nobody has served it. How long to wait before it is handed over again; `None`
    /// when it has tried for `patience`: a receiver that only ever hangs up gets it no more.
    pub fn comes_back(&mut self, patience: Option<Duration>) -> Option<Duration> {
        let (since, times) = self.returned.unwrap_or((Instant::now(), 0));
        self.returned = Some((since, times + 1));
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(times.min(10))).min(LONGEST_PAUSE);
        let over = patience.is_some_and(|patience| since.elapsed() >= patience);
        (!over).then_some(pause)
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.proxy.connections.remove(&connection);
            if let Some(keep) = self.proxy.keep() {
                if self.proxy.is_leaving() {
                    // It goes on in the next process.
                    return;
                }
                connection.conclude(keep);
            }
            let left: Weak<Connection> = Arc::downgrade(&connection);
            drop(connection);
            debug_assert_eq!(left.strong_count(), 0, "its sockets are still open");
            self.proxy.closed();
        }
    }
}
