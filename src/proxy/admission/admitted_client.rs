use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connections::Connection;
use super::entrance::Admission;
use crate::proxy::upstream::{Spare, pause_after};
use crate::service::address::Address;

/// A client that was admitted: counted until this is dropped, after its sockets are closed.
#[derive(Debug)]
pub struct AdmittedClient {
    connection: Arc<Connection>,
    pub spare: Spare,
    /// When its wait for an upstream began: when it was accepted. It begins anew in the next process, and with the
    /// first return from a handover, because no attempt was made in between.
    pub wait_start: Instant,
    /// How often it has returned from a handover.
    returns: u32,
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
            wait_start: Instant::now(),
            returns: 0,
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
        if self.connection.set_handed_over(slot, Arc::clone(target)) {
            self.count.0.connections.cut_later(slot);
        }
    }

    /// Counts a return from a handover unserved. Returns the pause before the next handover; `None` once
    /// `patience` is over, as with a receiver that hangs up each time.
    pub fn handover_pause(&mut self, patience: Option<Duration>) -> Option<Duration> {
        if self.returns == 0 {
            self.wait_start = Instant::now();
        }
        let pause = pause_after(self.returns);
        self.returns += 1;
        let is_over = patience.is_some_and(|patience| self.wait_start.elapsed() >= patience);
        (!is_over).then_some(pause)
    }

    /// Parks the sockets, so that they outlive the process.
    pub fn park(&self) {
        let (Some(keep), Some(slot)) = (self.count.0.keep, self.connection.slot) else {
            return;
        };
        match self.connection.upstream() {
            Some(upstream) => {
                slot.set_text(&upstream.target.to_string());
                keep.park(slot, self.socket(), upstream.socket.as_fd());
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
