//! The places of a service for its clients: what the part that accepts them, those that serve them and the life cycle
//! share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::service::listener::Listener;
use crate::service::program::Failure;
use crate::service::serve::Service;

/// The places of a service. As a [`Service`] it has a client accepted while one is free.
pub(crate) struct ClientPlaces {
    max: usize,
    /// The sentence of `systemctl status`.
    describe: fn(&Self, &[Listener]) -> String,
    /// Clients that have a place.
    open: AtomicUsize,
    /// Clients that had one so far.
    accepted: AtomicU64,
    is_stopping: AtomicBool,
    /// The last look before the process ends for lack of use.
    is_resting: AtomicBool,
    /// Something has run out: accepting pauses.
    is_paused: AtomicBool,
    /// Why no client can be accepted any more.
    failure: OnceLock<String>,
    /// Wakes the life cycle's loop.
    changed: Notify,
    /// Wakes the part that accepts.
    room: Notify,
}

/// One of the places for clients. It is free again when this is dropped.
pub(crate) struct ClientPlace {
    places: Arc<ClientPlaces>,
    /// The number of the client, unique in the process.
    pub(crate) id: u64,
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Relaxed);
        self.places.room.notify_one();
        self.places.changed.notify_one();
    }
}

impl ClientPlaces {
    pub(crate) fn new(max: usize, describe: fn(&Self, &[Listener]) -> String) -> Self {
        Self {
            max,
            describe,
            open: AtomicUsize::default(),
            accepted: AtomicU64::default(),
            is_stopping: AtomicBool::default(),
            is_resting: AtomicBool::default(),
            is_paused: AtomicBool::default(),
            failure: OnceLock::default(),
            changed: Notify::default(),
            room: Notify::default(),
        }
    }

    /// The most clients at a time.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// A place for a client that was accepted because [`Service::may_accept`].
    pub(crate) fn place(self: &Arc<Self>) -> ClientPlace {
        self.open.fetch_add(1, Relaxed);
        self.changed.notify_one();
        ClientPlace {
            places: Arc::clone(self),
            id: self.accepted.fetch_add(1, Relaxed) + 1,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Relaxed);
    }

    pub(crate) fn fail(&self, why: String) {
        let _ = self.failure.set(why);
        self.changed.notify_one();
    }

    /// Waits until a place is free, or the end has begun. Cancel safe.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }
}

impl Service for ClientPlaces {
    fn may_accept(&self) -> bool {
        let obstacles = [&self.is_stopping, &self.is_resting, &self.is_paused];
        !obstacles.iter().any(|flag| flag.load(Relaxed)) && self.open() < self.max
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

    fn status(&self, listeners: &[Listener]) -> String {
        (self.describe)(self, listeners)
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
    enum PlacesEvent {
        Accept,
        End(usize),
        Rest(bool),
        Pause(bool),
        Stop,
    }

    fn event() -> impl Strategy<Value = PlacesEvent> {
        prop_oneof![
            6 => Just(PlacesEvent::Accept),
            4 => (0usize..8).prop_map(PlacesEvent::End),
            1 => any::<bool>().prop_map(PlacesEvent::Rest),
            1 => any::<bool>().prop_map(PlacesEvent::Pause),
            1 => Just(PlacesEvent::Stop),
        ]
    }

    proptest! {
        #[test]
        fn no_client_is_accepted_beyond_the_limit_or_when_none_may_be(
            limit in 1usize..6,
            events in prop::collection::vec(event(), 0..100),
        ) {
            let service = Arc::new(ClientPlaces::new(limit, |_, _| String::new()));
            let mut places = Vec::new();
            let (mut resting, mut paused, mut stopping) = (false, false, false);
            for event in events {
                match event {
                    PlacesEvent::Accept if service.may_accept() => {
                        places.push(service.place());
                    }
                    PlacesEvent::Accept => {}
                    PlacesEvent::End(index) if index < places.len() => _ = places.remove(index),
                    PlacesEvent::End(_) => {}
                    PlacesEvent::Rest(is_resting) => {
                        resting = is_resting;
                        service.set_resting(resting);
                    }
                    PlacesEvent::Pause(is_paused) => {
                        paused = is_paused;
                        service.set_paused(paused);
                    }
                    PlacesEvent::Stop => {
                        stopping = true;
                        service.stopping();
                    }
                }
                prop_assert_eq!(service.open(), places.len());
                prop_assert!(places.len() <= limit);
                let may = !(resting || paused || stopping) && places.len() < limit;
                prop_assert_eq!(service.may_accept(), may);
                let mut ids: Vec<_> = places.iter().map(|place| place.id).collect();
                ids.dedup();
                prop_assert_eq!(ids.len(), places.len());
            }
        }
    }
}
