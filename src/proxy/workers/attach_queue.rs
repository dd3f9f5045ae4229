//! Detached clients that have spoken while they could not get an upstream (pure).

use std::collections::VecDeque;
use std::time::Duration;

use crate::service::clock::Uptime;

/// The most clients that get an upstream at once and have no answer: a service that has just been started has few
/// places in its backlog, and a client that finds none waits for a second. Measured with 400 clients and a backlog of
/// 5.
const UNANSWERED_MAX: usize = 5;

/// A service that answers later than this holds up no other client.
const PATIENCE: Duration = Duration::from_millis(100);

/// The clients of one thread, by their tokens.
#[derive(Debug, Default)]
pub(super) struct AttachQueue {
    /// In the order in which they get an upstream.
    waiting: VecDeque<u64>,
    /// Those that have got one and no answer yet, and until when that counts.
    unanswered: VecDeque<(Uptime, u64)>,
    /// How many of these there may be.
    limit: usize,
}

impl AttachQueue {
    /// All of `clients` may have an upstream now. `threads` threads have a queue.
    pub(super) fn begin(&mut self, clients: impl Iterator<Item = u64>, threads: usize) {
        self.waiting = clients.collect();
        self.limit = (UNANSWERED_MAX / threads.max(1)).max(1);
    }

    /// The client that gets its upstream now.
    pub(super) fn next(&mut self, now: Uptime) -> Option<u64> {
        while self
            .unanswered
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            self.unanswered.pop_front();
        }
        match self.unanswered.len() < self.limit {
            true => self.waiting.pop_front(),
            false => None,
        }
    }

    /// A client has got its upstream.
    pub(super) fn attached(&mut self, client: u64, now: Uptime) {
        self.unanswered.push_back((now + PATIENCE, client));
    }

    /// A client has got an answer, or has left.
    pub(super) fn answered(&mut self, client: u64) {
        self.unanswered.retain(|(_, other)| *other != client);
    }

    /// Whether no client waits for its upstream or for its first answer.
    pub(super) fn is_over(&self) -> bool {
        self.unanswered.is_empty() && self.waiting.is_empty()
    }

    /// When [`Self::next`] has one without an answer.
    pub(super) fn until(&self) -> Option<Uptime> {
        let (until, _) = self.unanswered.front()?;
        (!self.waiting.is_empty()).then_some(*until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_few_are_without_an_answer_at_a_time_and_all_get_their_turn() {
        let now = Uptime::from_micros(1);
        let mut queue = AttachQueue::default();
        queue.begin(0..12, 1);
        let mut open = Vec::new();
        for _ in 0..12 {
            while let Some(client) = queue.next(now) {
                queue.attached(client, now);
                open.push(client);
            }
            assert!(open.len() <= UNANSWERED_MAX);
            if !open.is_empty() {
                queue.answered(open.remove(0));
            }
        }
        assert!(queue.is_over() && open.is_empty());
    }

    #[test]
    fn one_that_is_answered_late_holds_up_the_others_for_a_short_time() {
        let now = Uptime::from_micros(1);
        let mut queue = AttachQueue::default();
        queue.begin(0..2, 64);
        assert_eq!(queue.next(now), Some(0), "one for each thread at least");
        queue.attached(0, now);
        assert_eq!(queue.next(now), None);
        let until = queue.until().unwrap();
        assert_eq!(queue.next(until), Some(1));
        assert_eq!(queue.until(), None);
    }
}
