//! Where everybody writes down what they see, with the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disnix_proxy_example::interface::GateState;
use tokio::sync::Notify;

use crate::record::{Held, Kill, Lane, Outcome, Record, Visit, Who};

/// A [`Record`] that is being written, by any number of tasks.
#[derive(Clone, Debug)]
pub struct Recorder {
    record: Arc<Mutex<Record>>,
    ended: Arc<Notify>,
    begun: Instant,
}

impl Recorder {
    /// An empty record that begins now.
    pub fn begin() -> Self {
        Self {
            record: Arc::default(),
            ended: Arc::default(),
            begun: Instant::now(),
        }
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What has been recorded so far.
    pub fn so_far(&self) -> Record {
        let mut record = self.write().clone();
        record.length = self.now();
        record
    }

    /// A new phase begins now.
    pub fn phase(&self, title: &'static str, gate: GateState) {
        let now = self.now();
        self.write().beginnings.push((now, gate, title));
    }

    /// A client has come; the number it is given is for [`Self::visit_ended`].
    pub fn visit_begun(&self) -> usize {
        let arrived = self.now();
        let mut record = self.write();
        record.visits.push(Visit {
            arrived,
            ended: None,
        });
        record.visits.len() - 1
    }

    /// A client has been served, or has failed.
    pub fn visit_ended(&self, number: usize, outcome: Outcome) {
        let now = self.now();
        if let Some(visit) = self.write().visits.get_mut(number) {
            visit.ended = Some((now, outcome));
        }
        self.ended.notify_waiters();
    }

    /// Waits until every client that is there now has been served or has failed.
    pub async fn all_served(&self) {
        let count = self.write().visits.len();
        loop {
            let ended = self.ended.notified();
            if self
                .write()
                .visits
                .iter()
                .take(count)
                .all(|visit| visit.ended.is_some())
            {
                return;
            }
            ended.await;
        }
    }

    /// A connection has been opened that is going to stay; its number is for what follows.
    pub fn holds(&self) -> usize {
        let opened = self.now();
        let mut record = self.write();
        record.held.push(Held {
            opened,
            ..Held::default()
        });
        record.held.len() - 1
    }

    /// Over a held connection an answer has come to what was asked then.
    pub fn answered(&self, number: usize, asked: Duration) {
        let now = self.now();
        if let Some(held) = self.write().held.get_mut(number) {
            held.answers.push((asked, now));
        }
    }

    /// A held connection has been closed by its client, or it was lost.
    pub fn let_go(&self, number: usize, how: Result<(), String>) {
        let now = self.now();
        if let Some(held) = self.write().held.get_mut(number) {
            held.ended = Some((now, how));
        }
    }

    /// The proxy is about to be killed.
    pub fn killed(&self) {
        let at = self.now();
        self.write().kills.push(Kill { at, back: None });
    }

    /// After a kill the proxy is ready again. How long it was not.
    pub fn is_back(&self) -> Duration {
        let now = self.now();
        match self.write().kills.last_mut() {
            Some(kill) => {
                kill.back = Some(now);
                now.saturating_sub(kill.at)
            }
            None => Duration::ZERO,
        }
    }

    /// What the proxy's status said just now.
    pub fn sample(&self, open: usize, queued: u32) {
        let now = self.now();
        self.write().samples.push((now, open, queued));
    }

    /// Somebody is there from now on.
    pub fn enters(&self, who: Who) {
        let now = self.now();
        self.with_lane(who, |lane| lane.spans.push((now, None)));
    }

    /// Somebody is no longer there.
    pub fn leaves(&self, who: Who) {
        let now = self.now();
        self.with_lane(who, |lane| {
            if let Some((_, end @ None)) = lane.spans.last_mut() {
                *end = Some(now);
            }
        });
    }

    /// Somebody does something worth a dot.
    pub fn mark(&self, who: Who) {
        let now = self.now();
        self.with_lane(who, |lane| lane.marks.push(now));
    }

    fn with_lane(&self, who: Who, change: impl FnOnce(&mut Lane)) {
        let mut record = self.write();
        let lanes = &mut record.lanes;
        let index = lanes.binary_search_by_key(&who, |lane| lane.who);
        let index = index.unwrap_or_else(|place| {
            let lane = Lane {
                who,
                spans: Vec::new(),
                marks: Vec::new(),
            };
            lanes.insert(place, lane);
            place
        });
        change(&mut lanes[index]);
    }

    fn write(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    #[tokio::test]
    async fn all_served_waits_for_those_who_are_there_and_for_nobody_else() {
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
