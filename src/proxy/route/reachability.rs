//! What attempts to reach the upstream have shown. Pure.

use std::io;
use std::time::Duration;

use crate::interface::UpstreamStatus;
use crate::service::clock::Uptime;

/// How long it is known that the upstream is reached, and for how long that it is not.
const REACHED_FOR: Duration = Duration::from_secs(5);
const FAILING_FOR: Duration = Duration::from_secs(1);

/// Whether the upstream is reached. The last attempt counts: it was reached, or it is failing since the first one that
/// has failed in a row. Without any nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reachability {
    /// When it was reached last; the time of day, too.
    reached: Option<(Uptime, u64)>,
    failing: Option<Failing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    /// The time of day.
    since: u64,
    /// When the last attempt has failed, and with what.
    last: Uptime,
    error: String,
}

impl Reachability {
    /// An attempt has succeeded, at this time of day.
    pub fn reached(&mut self, at: Uptime, time_of_day: u64) {
        self.reached = Some((at, time_of_day));
        self.failing = None;
    }

    /// An attempt has failed, at this time of day.
    pub fn failed(&mut self, error: String, at: Uptime, time_of_day: u64) {
        let since = self.failing.as_ref().map(|failing| failing.since);
        self.failing = Some(Failing {
            since: since.unwrap_or(time_of_day),
            last: at,
            error,
        });
    }

    /// When it was reached last.
    pub fn reached_at(&self) -> Option<Uptime> {
        self.reached.map(|(at, _)| at)
    }

    /// Whether the last attempt was so lately that it still counts. Before the first one nothing is known.
    pub fn is_known(&self, now: Uptime) -> bool {
        match (&self.failing, self.reached_at()) {
            (Some(failing), _) => now < failing.last + FAILING_FOR,
            (None, Some(reached)) => now < reached + REACHED_FOR,
            (None, None) => false,
        }
    }

    /// Why the last attempt has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.failing.as_ref().map(|failing| &failing.error[..])
    }

    /// What is known, if anything is.
    pub fn status(&self) -> Option<UpstreamStatus> {
        let is_known = self.reached.is_some() || self.failing.is_some();
        is_known.then(|| UpstreamStatus {
            reached_usec: self.reached.map(|(_, time_of_day)| time_of_day),
            failing_since_usec: self.failing.as_ref().map(|failing| failing.since),
            error: self.failing.as_ref().map(|failing| failing.error.clone()),
        })
    }
}

/// Why an attempt has failed, as a sentence about the upstream.
pub fn reason(error: &io::Error) -> String {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, NotFound,
        PermissionDenied, TimedOut, WouldBlock,
    };
    // An error with a text of its own says more than its kind.
    let kind = error.get_ref().is_none().then(|| error.kind());
    match kind {
        Some(ConnectionRefused) => "it refuses connections",
        Some(ConnectionReset) => "it resets connections",
        Some(NotFound) => "its socket does not exist",
        Some(TimedOut) => "it does not answer",
        // Of AF_UNIX.
        Some(WouldBlock) => "its queue is full",
        Some(PermissionDenied) => "the proxy may not connect to it",
        Some(HostUnreachable) => "its host cannot be reached",
        Some(NetworkUnreachable) => "its network cannot be reached",
        _ => return error.to_string(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::at;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_known_before_the_first_attempt() {
        assert_eq!(Reachability::default().status(), None);
    }

    #[test]
    fn an_attempt_counts_for_a_while_and_less_long_if_it_has_failed() {
        let mut reachability = Reachability::default();
        assert!(!reachability.is_known(at(0)));
        reachability.reached(at(10), 0);
        assert!(reachability.is_known(at(14)) && !reachability.is_known(at(15)));
        reachability.failed("error".to_owned(), at(20), 0);
        assert!(reachability.is_known(at(20)) && !reachability.is_known(at(21)));
        assert_eq!(reachability.failure(), Some("error"));
        reachability.reached(at(21), 0);
        assert!(reachability.is_known(at(21)));
        assert_eq!(reachability.failure(), None);
    }

    #[test]
    fn common_errors_are_sentences_about_the_upstream() {
        for (error, sentence) in [
            (
                io::Error::from_raw_os_error(libc::ECONNREFUSED),
                "it refuses connections",
            ),
            (
                io::Error::from_raw_os_error(libc::ENOENT),
                "its socket does not exist",
            ),
            (
                io::Error::from_raw_os_error(libc::EAGAIN),
                "its queue is full",
            ),
            (io::ErrorKind::TimedOut.into(), "it does not answer"),
            (
                io::Error::new(io::ErrorKind::TimedOut, "the look-up of a timed out"),
                "the look-up of a timed out",
            ),
        ] {
            assert_eq!(reason(&error), sentence);
        }
        let other = reason(&io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        assert!(other.starts_with("Cannot assign"), "{other}");
    }

    proptest! {
        /// The attempts that have succeeded are true.
        #[test]
        fn it_fails_since_the_first_of_the_last_failures_in_a_row(
            attempts in proptest::collection::vec(any::<bool>(), 1..20),
        ) {
            let mut reachability = Reachability::default();
            for (time, succeeded) in (1..).zip(&attempts) {
                match succeeded {
                    true => reachability.reached(at(time), time),
                    false => reachability.failed(format!("error {time}"), at(time), time),
                }
            }
            let last = attempts.iter().rposition(|succeeded| *succeeded).map(|index| index as u64 + 1);
            let count = attempts.len() as u64;
            let is_failing = last != Some(count);
            let expected = UpstreamStatus {
                reached_usec: last,
                failing_since_usec: is_failing.then(|| last.unwrap_or(0) + 1),
                error: is_failing.then(|| format!("error {count}")),
            };
            prop_assert_eq!(reachability.status(), Some(expected));
            prop_assert_eq!(reachability.reached_at(), last.map(at));
        }
    }
}
