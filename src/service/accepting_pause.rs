//! The pause of a service that accepts clients for its [`ClientPlaces`], when something has run out.

use std::io;
use std::sync::Arc;

use super::alarm::Alarm;
use super::clock::Uptime;
use super::exhausted::Pause;
use super::places::ClientPlaces;
use super::serve::Service;

/// It begins when accepting has failed, and ends when a place is free again or its time is over. Clients wait.
pub(crate) struct AcceptingPause {
    places: Arc<ClientPlaces>,
    pause: Pause,
    alarm: Alarm,
}

impl AcceptingPause {
    pub(crate) fn new(places: Arc<ClientPlaces>, alarm: Alarm) -> Self {
        Self {
            places,
            pause: Pause::default(),
            alarm,
        }
    }

    /// Begins: accepting has failed with this error.
    pub(crate) fn begin(&mut self, error: &io::Error) {
        self.places.set_paused(true);
        self.pause.begin(Uptime::now(), error, self.places.open());
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.pause.until().is_some()
    }

    /// Waits until a place is free, the end of the service begins, or the pause may be over. Cancel safe.
    pub(crate) async fn change(&mut self) {
        tokio::select! {
            biased;
            () = self.places.room() => self.pause.end(),
            () = self.alarm.wait(self.pause.until()) => {
                self.pause.is_over(Uptime::now());
            }
        }
        self.places.set_paused(self.is_under_way());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause() -> (Arc<ClientPlaces>, AcceptingPause) {
        let places = Arc::new(ClientPlaces::new(2, |_, _| String::new()));
        let pause = AcceptingPause::new(Arc::clone(&places), Alarm::new().unwrap());
        (places, pause)
    }

    #[tokio::test]
    async fn nobody_is_accepted_until_it_is_over() {
        let (places, mut pause) = pause();
        pause.begin(&io::ErrorKind::OutOfMemory.into());
        assert!(pause.is_under_way() && !places.may_accept());
        while pause.is_under_way() {
            pause.change().await;
        }
        assert!(places.may_accept());
    }

    #[tokio::test]
    async fn a_place_that_is_free_again_and_the_end_of_the_service_end_it() {
        let (places, mut pause) = pause();
        let place = places.place();
        pause.begin(&io::ErrorKind::OutOfMemory.into());
        drop(place);
        pause.change().await;
        assert!(!pause.is_under_way() && places.may_accept());
        pause.begin(&io::ErrorKind::OutOfMemory.into());
        places.stopping();
        pause.change().await;
        assert!(!pause.is_under_way() && !places.may_accept());
    }
}
