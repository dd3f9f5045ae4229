//! What the receiver, the processes and the life cycle share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::service::listener::Listener;
use crate::service::program::Failure;
use crate::service::serve::Service;

#[derive(Default)]
pub(super) struct Helper {
    processes_max: usize,
    /// Clients that have a place.
    open: AtomicUsize,
    /// Clients that had one so far.
    accepted: AtomicU64,
    is_stopping: AtomicBool,
    /// The last look before the process ends for lack of use.
    is_resting: AtomicBool,
    /// Something has run out: receiving pauses.
    is_paused: AtomicBool,
    /// Why no client can be received any more.
    failure: OnceLock<String>,
    /// Wakes the life cycle's loop.
    changed: Notify,
    /// Wakes the receiver.
    room: Notify,
}

/// One of the places for clients. It is free again when this is dropped.
pub(super) struct ClientPlace {
    helper: Arc<Helper>,
    /// The number of the client, unique in the process.
    pub(super) id: u64,
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.helper.open.fetch_sub(1, Relaxed);
        self.helper.room.notify_one();
        self.helper.changed.notify_one();
    }
}

impl Helper {
    pub(super) fn new(processes_max: usize) -> Self {
        Self {
            processes_max,
            ..Self::default()
        }
    }

    /// A place for a client that was received because [`Service::may_accept`].
    pub(super) fn place(self: &Arc<Self>) -> ClientPlace {
        self.open.fetch_add(1, Relaxed);
        self.changed.notify_one();
        ClientPlace {
            helper: Arc::clone(self),
            id: self.accepted.fetch_add(1, Relaxed) + 1,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Relaxed);
    }

    pub(super) fn fail(&self, why: String) {
        let _ = self.failure.set(why);
        self.changed.notify_one();
    }

    /// Waits until a place is free, or the end has begun. Cancel safe.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }
}

impl Service for Helper {
    fn may_accept(&self) -> bool {
        let obstacles = [&self.is_stopping, &self.is_resting, &self.is_paused];
        !obstacles.iter().any(|flag| flag.load(Relaxed)) && self.open() < self.processes_max
    }

    fn set_resting(&self, resting: bool) {
        self.is_resting.store(resting, Relaxed);
        if !resting {
            self.room.notify_one();
        }
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned().map(Failure::from)
    }

    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn status(&self, _: &[Listener]) -> String {
        format!("{} served, at most {}.", self.open(), self.processes_max)
    }

    fn stopping(&self) {
        self.is_stopping.store(true, Relaxed);
        self.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum HelperEvent {
        Receive,
        End(usize),
        Rest(bool),
        Pause(bool),
        Stop,
    }

    fn event() -> impl Strategy<Value = HelperEvent> {
        prop_oneof![
            6 => Just(HelperEvent::Receive),
            4 => (0usize..8).prop_map(HelperEvent::End),
            1 => any::<bool>().prop_map(HelperEvent::Rest),
            1 => any::<bool>().prop_map(HelperEvent::Pause),
            1 => Just(HelperEvent::Stop),
        ]
    }

    proptest! {
        #[test]
        fn no_client_is_received_beyond_the_limit_or_when_none_may_be(
            limit in 1usize..6,
            events in prop::collection::vec(event(), 0..100),
        ) {
            let helper = Arc::new(Helper::new(limit));
            let mut places = Vec::new();
            let (mut resting, mut paused, mut stopping) = (false, false, false);
            for event in events {
                match event {
                    HelperEvent::Receive if helper.may_accept() => {
                        places.push(helper.place());
                    }
                    HelperEvent::Receive => {}
                    HelperEvent::End(index) if index < places.len() => _ = places.remove(index),
                    HelperEvent::End(_) => {}
                    HelperEvent::Rest(is_resting) => {
                        resting = is_resting;
                        helper.set_resting(resting);
                    }
                    HelperEvent::Pause(is_paused) => {
                        paused = is_paused;
                        helper.set_paused(paused);
                    }
                    HelperEvent::Stop => {
                        stopping = true;
                        helper.stopping();
                    }
                }
                prop_assert_eq!(helper.open(), places.len());
                prop_assert!(places.len() <= limit);
                let may = !(resting || paused || stopping) && places.len() < limit;
                prop_assert_eq!(helper.may_accept(), may);
                let mut ids: Vec<_> = places.iter().map(|place| place.id).collect();
                ids.dedup();
                prop_assert_eq!(ids.len(), places.len());
            }
        }
    }
}
