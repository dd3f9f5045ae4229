//! Detached clients that leave for the successor of this process.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::interface::PASSED_MAX;
use crate::proxy::admission::AdmittedClient;
use crate::service::mutex;

/// The most bytes of requests that leave at once, without the last client's: a message has a limit.
const REQUESTS_MAX: usize = 64 * 1024;

/// The clients that wait for the successor to take them. Nothing watches their sockets, and nothing is received.
#[derive(Debug, Default)]
pub struct PassingOn {
    /// `None` while no client leaves.
    waiting: Mutex<Option<VecDeque<AdmittedClient>>>,
    added: Notify,
}

impl PassingOn {
    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<AdmittedClient>>> {
        mutex::lock(&self.waiting)
    }

    pub(super) fn begin(&self) {
        *self.waiting() = Some(VecDeque::new());
    }

    pub(super) fn is_on(&self) -> bool {
        self.waiting().is_some()
    }

    /// Adds a client. Returns it if none leaves any more.
    pub(super) fn add(&self, client: AdmittedClient) -> Option<AdmittedClient> {
        let mut waiting = self.waiting();
        let Some(waiting) = &mut *waiting else {
            return Some(client);
        };
        waiting.push_back(client);
        self.added.notify_one();
        None
    }

    /// Returns those that wait. From now on none is added.
    pub(super) fn end(&self) -> VecDeque<AdmittedClient> {
        self.waiting().take().unwrap_or_default()
    }

    /// Waits for clients, and takes some of them out. Cancel safe.
    pub async fn next(&self) -> Vec<AdmittedClient> {
        loop {
            let clients = self.take_some();
            if !clients.is_empty() {
                return clients;
            }
            self.added.notified().await;
        }
    }

    fn take_some(&self) -> Vec<AdmittedClient> {
        let mut waiting = self.waiting();
        let Some(waiting) = &mut *waiting else {
            return Vec::new();
        };
        let mut bytes = 0;
        let is_room = |client: &&AdmittedClient| {
            let is_room = bytes <= REQUESTS_MAX;
            bytes += client.request.bytes().len();
            is_room
        };
        let some = waiting.iter().take(PASSED_MAX).take_while(is_room);
        let count = some.count();
        waiting.drain(..count).collect()
    }
}
