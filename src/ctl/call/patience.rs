//! Waiting for a proxy that is expected back.

use std::time::Duration;

use tokio::time::sleep;

use crate::ctl::failure::CtlFailure;

/// The longest time to try to reach a proxy again.
pub const RETURN_TIME: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Pauses between attempts, each twice as long as the one before.
#[derive(Default)]
pub struct Patience {
    waited: Duration,
}

impl Patience {
    /// Pauses; returns `false` at once when [`RETURN_TIME`] is over.
    pub async fn pause(&mut self) -> bool {
        let pause = self.next_pause();
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        pause.is_some()
    }

    fn next_pause(&mut self) -> Option<Duration> {
        if self.waited >= RETURN_TIME {
            return None;
        }
        // All pauses so far and the first one make twice the last one.
        let pause = (self.waited + FIRST_PAUSE).min(LONGEST_PAUSE);
        self.waited += pause;
        Some(pause)
    }
}

/// The sentence for a connection that broke.
pub const LOST: &str = "the connection to the proxy was lost; trying again for half a minute";

/// The state of a call whose connection may have broken.
#[derive(Default)]
pub struct Reconnection(Option<Patience>);

impl Reconnection {
    /// Whether a connection broke and none has been made since.
    pub fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// The proxy has replied; returns whether it had been away.
    pub fn finish(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// The call failed; returns whether it was by losing a connection that had been there.
    pub fn begin(&mut self, failure: &CtlFailure) -> bool {
        let begins = is_lost(failure) && !self.is_under_way();
        if begins {
            self.0 = Some(Patience::default());
        }
        begins
    }

    /// Pauses before the next attempt; returns `false` when there is to be none.
    pub async fn pause(&mut self, failure: &CtlFailure) -> bool {
        // While a process is replaced its socket may be missing or refuse for a moment.
        let may_return = is_lost(failure) || failure.is_absence();
        match self.0.as_mut().filter(|_| may_return) {
            Some(patience) => patience.pause().await,
            None => false,
        }
    }
}

fn is_lost(failure: &CtlFailure) -> bool {
    matches!(failure, CtlFailure::Lost { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_after_half_a_minute_and_does_not_hammer() {
        let mut patience = Patience::default();
        let pauses: Vec<Duration> = std::iter::from_fn(|| patience.next_pause()).collect();
        let waited: Duration = pauses.iter().sum();
        assert!(waited >= RETURN_TIME && waited < RETURN_TIME + Duration::from_secs(1));
        assert!(pauses.len() < 40, "{}", pauses.len());
    }
}
