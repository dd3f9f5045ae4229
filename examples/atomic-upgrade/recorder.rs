//! Writes the record: each event with its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use disnix_proxy_example::interface::GateState;
use tokio::sync::Notify;

use crate::record::{Answer, Held, Kill, Outcome, Record, Version, Visit, Who};

/// A [`Record`] that any number of tasks write.
#[derive(Clone, Debug)]
pub struct Recorder {
    record: Arc<Mutex<Record>>,
    ended: Arc<Notify>,
    begun: Instant,
}

impl Recorder {
    /// An empty record that starts now.
    pub fn begin() -> Self {
        Self {
            record: Arc::default(),
            ended: Arc::default(),
            begun: Instant::now(),
        }
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A copy of the record until now.
    pub fn so_far(&self) -> Record {
        self.note(|record, now| Record {
            length: now,
            ..record.clone()
        })
    }

    /// A phase starts.
    pub fn phase(&self, title: &'static str, gate: GateState) {
        self.note(|record, now| record.beginnings.push((now, gate, title)));
    }

    /// A short client arrives. Returns its number.
    pub fn visit_begun(&self) -> usize {
        self.note(|record, arrived| {
            let ended = None;
            record.visits.push(Visit { arrived, ended });
            record.visits.len() - 1
        })
    }

    /// A short client was served, or has failed.
    pub fn visit_ended(&self, number: usize, outcome: Outcome) {
        self.note(|record, now| record.visits[number].ended = Some((now, outcome)));
        self.ended.notify_waiters();
    }

    /// Waits until every short client that has arrived by now was served or has failed.
    pub async fn all_served(&self) {
        let count = self.note(|record, _| record.visits.len());
        let is_over = |record: &mut Record, _| {
            let mut visits = record.visits.iter().take(count);
            visits.all(|visit| visit.ended.is_some())
        };
        loop {
            let ended = self.ended.notified();
            if self.note(is_over) {
                return;
            }
            ended.await;
        }
    }

    /// A client opens a connection that it is going to hold. Returns its number.
    pub fn holds(&self, who: Who) -> usize {
        self.note(|record, opened| {
            record.held.push(Held {
                who,
                opened,
                answers: Vec::new(),
                ended: None,
            });
            record.held.len() - 1
        })
    }

    /// An answer of this version arrives over a held connection, to a request of the time `asked`.
    pub fn answered(&self, number: usize, asked: Duration, version: Version) {
        self.note(|record, at| {
            let answer = Answer { asked, at, version };
            record.held[number].answers.push(answer);
        });
    }

    /// A held connection is closed by its client, or lost.
    pub fn let_go(&self, number: usize, how: Result<(), String>) {
        self.note(|record, now| record.held[number].ended = Some((now, how)));
    }

    /// The proxy is about to be killed.
    pub fn killed(&self) {
        self.note(|record, at| record.kills.push(Kill { at, back: None }));
    }

    /// The proxy is ready after a kill. Returns the time since the kill.
    pub fn is_back(&self) -> Duration {
        self.note(|record, now| {
            let Some(kill) = record.kills.last_mut() else {
                return Duration::ZERO;
            };
            kill.back = Some(now);
            now.saturating_sub(kill.at)
        })
    }

    /// A sample of the proxy's status.
    pub fn sample(&self, open: usize, queued: u32) {
        self.note(|record, now| record.samples.push((now, open, queued)));
    }

    /// A program starts, or a client connects.
    pub fn enters(&self, who: Who) {
        self.note(|record, now| record.lane(who).spans.push((now, None)));
    }

    /// A program exits, or a client leaves.
    pub fn leaves(&self, who: Who) {
        self.note(|record, now| {
            if let Some((_, end @ None)) = record.lane(who).spans.last_mut() {
                *end = Some(now);
            }
        });
    }

    /// The moment of an answer, for the lane of its client.
    pub fn mark(&self, who: Who, version: Version) {
        self.note(|record, now| record.lane(who).marks.push((now, version)));
    }

    fn note<T>(&self, event: impl FnOnce(&mut Record, Duration) -> T) -> T {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        event(&mut record, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    #[tokio::test]
    async fn all_served_waits_for_the_clients_of_that_moment_only() {
        let recorder = Recorder::begin();
        let first = recorder.visit_begun();
        let waiting = tokio::spawn({
            let recorder = recorder.clone();
            async move { recorder.all_served().await }
        });
        tokio::task::yield_now().await;
        recorder.visit_begun();
        assert!(!waiting.is_finished());
        recorder.visit_ended(first, Outcome::Served(Version::One));
        waiting.await.unwrap();
    }
}
