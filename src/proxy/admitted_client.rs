//! A client that was admitted.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::Admission;
use super::connections::Connection;
use super::upstream::{Connected, Spare};
use crate::service::address::Address;

/// The pause before a client that came back is handed over again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A client that was admitted: counted until this is dropped, after its sockets are closed.
#[derive(Debug)]
pub struct AdmittedClient {
    connection: Option<Arc<Connection>>,
    /// For its upstream.
    pub spare: Spare,
    admission: Arc<Admission>,
    /// When it came back from a handover for the first time, and how often it has.
    returned: Option<(Instant, u32)>,
}

impl AdmittedClient {
    /// One that is counted by now.
    pub fn new(connection: Arc<Connection>, spare: Spare, admission: Arc<Admission>) -> Self {
        Self {
            connection: Some(connection),
            spare,
            admission,
            returned: None,
        }
    }

    /// The connection.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// The client's socket.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
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
            self.admission.connections.cut_later(slot);
        }
    }

    /// It came back and was not served. Returns how long to wait before it is handed over again; `None`
    /// when it has tried for `patience`: a receiver that only ever hangs up gets it no more.
    pub fn comes_back(&mut self, patience: Option<Duration>) -> Option<Duration> {
        let (since, times) = self.returned.unwrap_or((Instant::now(), 0));
        self.returned = Some((since, times + 1));
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(times.min(10))).min(LONGEST_PAUSE);
        let over = patience.is_some_and(|patience| since.elapsed() >= patience);
        (!over).then_some(pause)
    }

    /// Parks its sockets, so that they outlive the process.
    pub(super) fn park(&self) {
        let Some(connection) = self.connection() else {
            return;
        };
        let (Some(keep), Some(slot)) = (self.admission.keep(), connection.slot) else {
            return;
        };
        match connection.upstream.get() {
            Some(upstream) => {
                slot.set_text(&upstream.target.to_string());
                keep.park(slot, connection.client.as_fd(), upstream.socket.as_fd());
            }
            None => {
                keep.park_client(slot, connection.client.as_fd());
            }
        }
    }
}

impl Drop for AdmittedClient {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.admission.remove(connection);
        }
    }
}
