//! How a service that was told to stop lets its open connections end.

use std::time::Duration;

use super::clock::Uptime;

/// How long systemd is asked to wait beyond the moment of asking. It must be more than
/// [`EXTEND_EVERY`] and leave room for a machine that is busy.
const EXTEND_BY: Duration = Duration::from_secs(15);

/// How often systemd is asked to wait.
const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// A drain before the end of the process: open connections may end by themselves until the
/// deadline. Pure: the time is passed in.
#[derive(Clone, Debug)]
pub struct Drain {
    deadline: Option<Uptime>,
    next_extension: Uptime,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// End: no connection is open.
    Complete,
    /// End: the time is over, and some are still open.
    TimedOut,
    /// Wait for connections to end, at most until then. If systemd has to be asked for more time
    /// now (`EXTEND_TIMEOUT_USEC=`), for how much.
    Wait {
        /// When to ask again.
        until: Uptime,
        /// What to ask systemd for, from now on.
        extend: Option<Duration>,
    },
}

impl Drain {
    /// Begins now and lasts at most `timeout`; `None`: as long as it takes.
    pub fn begin(timeout: Option<Duration>, now: Uptime) -> Self {
        Self {
            deadline: timeout.map(|timeout| now + timeout),
            next_extension: now,
        }
    }

    /// What to do when `open` connections are left.
    pub fn step(&mut self, open: usize, now: Uptime) -> Step {
        if open == 0 {
            return Step::Complete;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Step::TimedOut;
        }
        let extend = (self.next_extension <= now).then_some(EXTEND_BY);
        if extend.is_some() {
            self.next_extension = now + EXTEND_EVERY;
        }
        let until = self
            .deadline
            .map_or(self.next_extension, |end| end.min(self.next_extension));
        Step::Wait { until, extend }
    }

    /// The time that is left; `None`: without end.
    pub fn left(&self, now: Uptime) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn without_connections_it_is_complete_at_once() {
        assert_eq!(
            Drain::begin(Some(Duration::ZERO), at(1)).step(0, at(1)),
            Step::Complete
        );
        assert_eq!(Drain::begin(None, at(1)).step(0, at(1)), Step::Complete);
    }

    #[test]
    fn without_time_open_connections_are_given_up_at_once() {
        assert_eq!(
            Drain::begin(Some(Duration::ZERO), at(1)).step(3, at(1)),
            Step::TimedOut
        );
    }

    proptest! {
        /// Called when it asks to be called, systemd's patience never ends before the drain does,
        /// and the drain ends at its deadline or when the last connection does.
        #[test]
        fn systemd_is_always_asked_before_its_patience_ends(
            timeout in prop::option::of(0u64..200),
            ends in 1u64..400,
        ) {
            let mut drain = Drain::begin(timeout.map(Duration::from_secs), at(1000));
            let (mut now, mut patience) = (at(1000), at(1000) + Duration::from_secs(1));
            loop {
                prop_assert!(now < patience);
                let open = usize::from(now < at(1000 + ends));
                match drain.step(open, now) {
                    Step::Wait { until, extend } => {
                        prop_assert!(until > now);
                        if let Some(extend) = extend {
                            patience = now + extend;
                        }
                        now = until.min(at(1000 + ends)).max(now + Duration::from_micros(1));
                    }
                    Step::Complete => break prop_assert_eq!(open, 0),
                    Step::TimedOut => break prop_assert!(now == at(1000 + timeout.unwrap())),
                }
            }
        }
    }
}
