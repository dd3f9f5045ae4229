//! The drain before the end of the process. Pure: the time is passed in.

use std::time::Duration;

use super::clock::Uptime;

/// The extension that systemd is asked for. Longer than [`EXTEND_EVERY`], with room for a busy machine.
const EXTEND_BY: Duration = Duration::from_secs(15);

/// How often systemd is asked for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// Open connections may end by themselves until the deadline.
#[derive(Clone, Debug)]
pub struct Drain {
    deadline: Option<Uptime>,
    next_extension: Uptime,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// End: no connection is open.
    Complete,
    /// End: the time is over, and some are still open.
    TimedOut,
    /// Wait for connections to end.
    Wait {
        /// When to ask again, at the latest.
        until: Uptime,
        /// How much time from now on to ask systemd for (`EXTEND_TIMEOUT_USEC=`).
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

    /// What to do while `open` connections are left.
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
    use crate::service::clock::at;
    use proptest::prelude::*;

    #[test]
    fn without_connections_it_is_complete_and_without_time_it_is_over_at_once() {
        for (timeout, open, step) in [
            (Some(Duration::ZERO), 0, Step::Complete),
            (None, 0, Step::Complete),
            (Some(Duration::ZERO), 3, Step::TimedOut),
        ] {
            assert_eq!(Drain::begin(timeout, at(1)).step(open, at(1)), step);
        }
    }

    proptest! {
        /// If it is called when it asks to be, systemd's timeout never ends before the drain, and the drain
        /// ends at its deadline or with the last connection.
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
