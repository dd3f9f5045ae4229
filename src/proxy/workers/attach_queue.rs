//! Detached clients that have spoken while they could not get an upstream (pure).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::service::clock::Uptime;

/// The most clients that get an upstream at once and have no answer: a service that has just been started has few
/// places in its backlog, and a client that finds none waits for a second. Measured with 400 clients and a backlog of
/// 5.
const UNANSWERED_MAX: usize = 5;

/// A service that answers later than this holds up no other client. It counts from when the upstream is connected.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of a client of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueTurn {
    /// It has left, or may not have an upstream now.
    Nothing,
    /// The thread carries it, by this token.
    Carried(u64),
    /// The runtime connects it: it comes back with [`AttachQueue::returned`].
    Away,
}

/// The clients of one thread, by their tokens.
#[derive(Debug)]
pub(super) struct AttachQueue {
    /// In the order in which they get an upstream.
    waiting: VecDeque<u64>,
    /// The same.
    members: BTreeSet<u64>,
    /// Those that have got one that is not connected yet.
    connecting: Vec<u64>,
    /// The number of those for which the runtime connects.
    away: usize,
    /// Those that have a connected one and no answer yet, and until when that counts.
    unanswered: VecDeque<(Uptime, u64)>,
    /// How many there may be of the last three.
    limit: usize,
}

impl Default for AttachQueue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            members: BTreeSet::new(),
            connecting: Vec::new(),
            away: 0,
            unanswered: VecDeque::new(),
            limit: UNANSWERED_MAX,
        }
    }
}

impl AttachQueue {
    /// All of `clients` may have an upstream now. `threads` threads have a queue.
    pub(super) fn begin(&mut self, clients: impl Iterator<Item = u64>, threads: usize) {
        self.limit = (UNANSWERED_MAX / threads.max(1)).max(1);
        clients.for_each(|client| self.add(client));
    }

    /// This client may have an upstream when it is its turn.
    pub(super) fn add(&mut self, client: u64) {
        if self.members.insert(client) {
            self.waiting.push_back(client);
        }
    }

    /// Whether a client waits for its turn.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The client that gets its upstream now. `connects`: whether the upstream of a client has yet to answer.
    pub(super) fn next(&mut self, now: Uptime, connects: impl Fn(u64) -> bool) -> Option<u64> {
        let is_over = |(until, _): &(Uptime, u64)| *until <= now;
        while self.unanswered.front().is_some_and(is_over) {
            self.unanswered.pop_front();
        }
        self.connecting.retain(|client| connects(*client));
        if self.unanswered.len() + self.connecting.len() + self.away >= self.limit {
            return None;
        }
        let client = self.waiting.pop_front()?;
        self.members.remove(&client);
        Some(client)
    }

    /// What became of the last [`Self::next`].
    pub(super) fn turned(&mut self, turn: QueueTurn, is_connected: bool, now: Uptime) {
        match turn {
            QueueTurn::Nothing => {}
            QueueTurn::Carried(client) if is_connected => self.await_answer(client, now),
            QueueTurn::Carried(client) => self.connecting.push(client),
            QueueTurn::Away => self.away += 1,
        }
    }

    /// The upstream of a client has answered.
    pub(super) fn connected(&mut self, client: u64, now: Uptime) {
        if self.forget_connecting(client) {
            self.await_answer(client, now);
        }
    }

    /// The upstream of a client has not answered, and the runtime tries again. Returns whether it comes back with
    /// [`Self::returned`].
    pub(super) fn goes_away(&mut self, client: u64) -> bool {
        let is_of_queue = self.forget_connecting(client);
        self.away += usize::from(is_of_queue);
        is_of_queue
    }

    /// A client is back from the runtime: it is carried by this token, or has left, or is without an upstream again.
    pub(super) fn returned(&mut self, carried: Option<u64>, now: Uptime) {
        self.away = self.away.saturating_sub(1);
        if let Some(client) = carried {
            self.await_answer(client, now);
        }
    }

    fn forget_connecting(&mut self, client: u64) -> bool {
        let count = self.connecting.len();
        self.connecting.retain(|other| *other != client);
        self.connecting.len() < count
    }

    fn await_answer(&mut self, client: u64, now: Uptime) {
        self.unanswered.push_back((now + PATIENCE, client));
    }

    /// A client has got an answer, or has left.
    pub(super) fn answered(&mut self, client: u64) {
        self.unanswered.retain(|(_, other)| *other != client);
    }

    /// Whether no client waits for its turn or for its first answer.
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
    use proptest::prelude::*;

    fn at(usec: u64) -> Uptime {
        Uptime::from_micros(usec)
    }

    #[test]
    fn only_a_few_are_without_an_answer_at_a_time_and_all_get_their_turn() {
        let now = at(1);
        let mut queue = AttachQueue::default();
        queue.begin(0..12, 1);
        let mut open = Vec::new();
        for _ in 0..12 {
            while let Some(client) = queue.next(now, |_| false) {
                queue.turned(QueueTurn::Carried(client), true, now);
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
        let mut queue = AttachQueue::default();
        queue.begin(0..2, 64);
        let one = queue.next(at(1), |_| true);
        assert_eq!(one, Some(0), "one for each thread at least");
        queue.turned(QueueTurn::Carried(0), false, at(1));
        assert_eq!(queue.next(at(1) + 10 * PATIENCE, |_| true), None);
        let connected = at(1) + 10 * PATIENCE;
        queue.connected(0, connected);
        assert_eq!(queue.next(connected, |_| false), None);
        let until = queue.until().unwrap();
        assert_eq!(until, connected + PATIENCE);
        assert_eq!(queue.next(until, |_| false), Some(1));
        assert_eq!(queue.until(), None);
    }

    #[test]
    fn a_client_is_in_the_queue_once() {
        let mut queue = AttachQueue::default();
        queue.begin(0..3, 1);
        queue.begin(0..3, 1);
        queue.add(1);
        let turns: Vec<u64> = std::iter::from_fn(|| queue.next(at(1), |_| false)).collect();
        assert_eq!(turns, [0, 1, 2]);
        queue.add(1);
        assert!(queue.has_waiting());
    }

    /// What a client of the queue may do.
    #[derive(Clone, Copy, Debug)]
    enum QueueEvent {
        Next(Option<bool>),
        Connected,
        GoesAway,
        Returns(bool),
        Answered,
        Ends,
        Later,
    }

    fn event() -> impl Strategy<Value = QueueEvent> {
        prop_oneof![
            4 => any::<Option<bool>>().prop_map(QueueEvent::Next),
            1 => Just(QueueEvent::Connected),
            1 => Just(QueueEvent::GoesAway),
            1 => any::<bool>().prop_map(QueueEvent::Returns),
            1 => Just(QueueEvent::Answered),
            1 => Just(QueueEvent::Ends),
            1 => Just(QueueEvent::Later),
        ]
    }

    proptest! {
        #[test]
        fn the_places_are_never_more_than_there_may_be_and_none_is_lost(
            events in prop::collection::vec(event(), 1..200),
        ) {
            let mut queue = AttachQueue::default();
            queue.begin(0..1000, 1);
            let (mut connecting, mut away, mut unanswered) = (Vec::new(), 0, Vec::new());
            let (mut now, mut returned) = (at(1), 5000);
            for event in events {
                match event {
                    QueueEvent::Next(how) => {
                        let is_full = connecting.len() + away + unanswered.len() >= UNANSWERED_MAX;
                        let client = queue.next(now, |client| connecting.contains(&client));
                        prop_assert_eq!(client.is_none(), is_full);
                        let Some(client) = client else { continue };
                        match how {
                            None => {
                                away += 1;
                                queue.turned(QueueTurn::Away, false, now);
                            }
                            Some(is_connected) => {
                                let list = if is_connected { &mut unanswered } else { &mut connecting };
                                list.push(client);
                                queue.turned(QueueTurn::Carried(client), is_connected, now);
                            }
                        }
                    }
                    QueueEvent::Connected => if let Some(client) = connecting.pop() {
                        unanswered.push(client);
                        queue.connected(client, now);
                    },
                    QueueEvent::GoesAway => if let Some(client) = connecting.pop() {
                        away += 1;
                        prop_assert!(queue.goes_away(client));
                        prop_assert!(!queue.goes_away(client));
                    },
                    QueueEvent::Returns(is_carried) => if away > 0 {
                        away -= 1;
                        returned += 1;
                        let client = is_carried.then_some(returned);
                        unanswered.extend(client);
                        queue.returned(client, now);
                    },
                    QueueEvent::Answered => if let Some(client) = unanswered.pop() {
                        queue.answered(client);
                    },
                    // The thread forgets the token.
                    QueueEvent::Ends => _ = connecting.pop(),
                    QueueEvent::Later => {
                        now = now + PATIENCE;
                        unanswered.clear();
                    }
                }
            }
        }
    }
}
