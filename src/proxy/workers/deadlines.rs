//! Connections that have to be looked after at a time (pure).

use std::collections::VecDeque;

use crate::service::clock::Uptime;

/// The tokens of connections, in the order of their times: all of them wait for the same duration.
#[derive(Debug, Default)]
pub(super) struct Deadlines(VecDeque<(Uptime, u64)>);

impl Deadlines {
    pub(super) fn add(&mut self, due: Uptime, token: u64) {
        self.0.push_back((due, token));
    }

    /// The first time.
    pub(super) fn next(&self) -> Option<Uptime> {
        self.0.front().map(|(due, _)| *due)
    }

    /// Takes out a connection that is due. `waits`: whether it still waits; others are taken out, too.
    pub(super) fn take_due(&mut self, now: Uptime, waits: impl Fn(u64) -> bool) -> Option<u64> {
        while let Some((due, token)) = self.0.front().copied() {
            let waits = waits(token);
            if waits && due > now {
                return None;
            }
            self.0.pop_front();
            if waits {
                return Some(token);
            }
        }
        None
    }
}

/// The deadlines of a thread's connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionDeadlines {
    /// Of upstreams that have yet to answer ([`Route::first_attempt_limit`](crate::proxy::route::Route)).
    pub(super) answers: Deadlines,
    /// Of requests and replies of which a part has come.
    pub(super) rests: Deadlines,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_due_come_in_order_and_those_that_do_not_wait_any_more_are_forgotten() {
        let at = Uptime::from_micros;
        let mut deadlines = Deadlines::default();
        for (due, token) in [(10, 1), (20, 2), (30, 3)] {
            deadlines.add(at(due), token);
        }
        assert_eq!(deadlines.take_due(at(9), |_| true), None);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.take_due(at(20), |token| token != 1), Some(2));
        assert_eq!(deadlines.take_due(at(20), |_| true), None);
        assert_eq!(deadlines.take_due(at(20), |_| false), None);
        assert_eq!(deadlines.next(), None, "none waits");
    }
}
