//! A client that was admitted.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::Admission;
use super::connections::Connection;
use super::upstream::{Connected, Spare, pause_after};
use crate::service::address::Address;

/// A client that was admitted: counted until this is dropped, after its sockets are closed.
#[derive(Debug)]
pub struct AdmittedClient {
    connection: Arc<Connection>,
    /// For its upstream.
    pub spare: Spare,
    /// When it came back from a handover for the first time, and how often it has.
    returns: Option<(Instant, u32)>,
    /// Dropped after the connection.
    count: Count,
}

/// One of the connections that the gate counts.
#[derive(Debug)]
struct Count(Arc<Admission>);

impl AdmittedClient {
    /// The client of a connection that is counted already.
    pub fn new(connection: Arc<Connection>, spare: Spare, admission: Arc<Admission>) -> Self {
        Self {
            connection,
            spare,
            returns: None,
            count: Count(admission),
        }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.client.as_fd()
    }

    /// The client was handed over, with the token of this slot.
    pub fn set_handed_over(&self, slot: u32, target: &Arc<Address>) {
        if self.connection.handed_over(slot, Arc::clone(target)) {
            self.count.0.connections.cut_later(slot);
        }
    }

    /// The client came back from a handover and was not served. Returns the pause before the next handover;
    /// `None` if that has gone on for `patience`, as with a receiver that only ever hangs up.
    pub fn comes_back(&mut self, patience: Option<Duration>) -> Option<Duration> {
        let (since, times) = self.returns.unwrap_or((Instant::now(), 0));
        self.returns = Some((since, times + 1));
        let is_over = patience.is_some_and(|patience| since.elapsed() >= patience);
        (!is_over).then(|| pause_after(times))
    }

    /// Parks the sockets, so that they outlive the process.
    pub fn park(&self) {
        let (Some(keep), Some(slot)) = (self.count.0.keep, self.connection.slot) else {
            return;
        };
        match self.connection.upstream.get() {
            Some(Connected { socket, target, .. }) => {
                slot.set_text(&target.to_string());
                keep.park(slot, self.socket(), socket.as_fd());
            }
            None => _ = keep.park_client(slot, self.socket()),
        }
    }
}

impl Drop for AdmittedClient {
    fn drop(&mut self) {
        let admission = &self.count.0;
        admission.remove(&self.connection);
        debug_assert!(
            admission.is_leaving() || Arc::strong_count(&self.connection) == 1,
            "somebody else keeps its sockets open"
        );
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if !self.0.is_leaving() {
            self.0.closed();
        }
    }
}
