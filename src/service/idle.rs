//! The end of a service that is not used. Pure: the time is passed in.

use std::time::Duration;

use super::clock::Uptime;

/// Expires when the service was not used for the whole exit-idle time.
#[derive(Clone, Debug)]
pub struct IdleTimer {
    limit: Option<Duration>,
    idle_since: Option<Uptime>,
}

impl IdleTimer {
    /// Expires after `limit` without use; `None`: never.
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            idle_since: None,
        }
    }

    /// Starts when the service is not in use, and stops when it is.
    pub fn update(&mut self, in_use: bool, now: Uptime) {
        match in_use {
            true => self.idle_since = None,
            false => _ = self.idle_since.get_or_insert(now),
        }
    }

    /// Starts again from `from`, because a client was seen waiting.
    pub fn restart(&mut self, from: Uptime) {
        self.idle_since = Some(from);
    }

    /// When it expires, unless the service is used before.
    pub fn deadline(&self) -> Option<Uptime> {
        Some(self.idle_since? + self.limit?)
    }

    /// Whether it has expired.
    pub fn expired(&self, now: Uptime) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// How long a service that may not accept the client that waits sleeps before it looks again: the limit,
    /// and at least 1 s, so that it does not spin.
    pub fn recheck_after(&self) -> Duration {
        self.limit
            .unwrap_or(Duration::MAX)
            .max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::at;
    use proptest::prelude::*;

    #[test]
    fn zero_expires_at_once_and_infinity_never() {
        let mut timer = IdleTimer::new(Some(Duration::ZERO));
        timer.update(false, at(5));
        assert!(timer.expired(at(5)));
        let mut timer = IdleTimer::new(None);
        timer.update(false, at(5));
        assert!(!timer.expired(at(u32::MAX.into())));
        assert_eq!(timer.deadline(), None);
    }

    proptest! {
        /// The timer has expired exactly when the last `limit` seconds were all without use.
        #[test]
        fn it_expires_exactly_when_the_whole_time_was_idle(
            limit in 0u64..20,
            steps in prop::collection::vec((0u64..10, any::<bool>()), 1..40),
        ) {
            let mut timer = IdleTimer::new(Some(Duration::from_secs(limit)));
            let (mut now, mut idle_since) = (1000, None);
            for (pause, in_use) in steps {
                now += pause;
                let expected = idle_since.is_some_and(|since| now - since >= limit);
                prop_assert_eq!(timer.expired(at(now)), expected);
                timer.update(in_use, at(now));
                idle_since = if in_use { None } else { idle_since.or(Some(now)) };
            }
        }
    }
}
