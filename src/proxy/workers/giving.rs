//! Giving connections to a thread that has time.

use super::Message;
use super::worker::Worker;
use crate::service::clock::Uptime;

/// Connections that have carried something since then make work.
const LATELY_USEC: u64 = 50_000;

impl Worker {
    /// Has another thread carry half of those that make work, if one has time.
    pub(super) fn give_away(&mut self) {
        let Some(post) = self.proxy.workers().another(&self.proxy, &self.post) else {
            return;
        };
        let lately = Uptime::from_micros(self.now.as_micros().saturating_sub(LATELY_USEC));
        let keys: Vec<usize> = self
            .open
            .iter()
            .filter(|(_, open)| !open.is_connecting() && open.is_active(lately))
            .map(|(key, _)| key)
            .step_by(2)
            .collect();
        for key in keys {
            let mut open = self.open.remove(key);
            self.unwatch(&open);
            open.is_queued = false;
            post.inbox.post(Message::Carry(open));
        }
    }
}
