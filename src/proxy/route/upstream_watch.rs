//! What all threads see of the upstream, in one place.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::reachability::{Reachability, reason};
use crate::interface::UpstreamStatus;
use crate::service::address::Address;
use crate::service::clock::{Uptime, realtime_micros};
use crate::service::mutex;

/// What attempts to reach the current target have shown. One that succeeds costs a store, unless the last one had
/// failed; the rest is put together when somebody asks.
#[derive(Debug, Default)]
pub struct UpstreamWatch {
    /// Where the current target is in memory: an attempt that has begun before a change of the target has another one.
    target: AtomicUsize,
    /// When it was reached last, in microseconds since the boot; 0: not yet.
    reached_usec: AtomicU64,
    /// Whether the last attempt has failed.
    is_failing: AtomicBool,
    reachability: Mutex<Reachability>,
}

impl UpstreamWatch {
    /// Begins anew: this is the target from now on.
    pub fn begin(&self, target: &Arc<Address>) {
        let mut reachability = mutex::lock(&self.reachability);
        self.target.store(identity(target), Relaxed);
        self.reached_usec.store(0, Relaxed);
        self.is_failing.store(false, Relaxed);
        *reachability = Reachability::default();
    }

    fn is_current(&self, target: &Arc<Address>) -> bool {
        self.target.load(Relaxed) == identity(target)
    }

    /// This target was reached. Returns whether it was failing until now.
    pub fn reached(&self, target: &Arc<Address>, now: Uptime) -> bool {
        if !self.is_current(target) {
            return false;
        }
        self.reached_usec.store(now.as_micros(), Relaxed);
        let was_failing = self.is_failing.load(Relaxed);
        if was_failing {
            // The time may be that of the failure, which was before.
            let mut reachability = mutex::lock(&self.reachability);
            reachability.reached(now, now.time_of_day());
            self.is_failing.store(false, Relaxed);
        }
        was_failing
    }

    /// An attempt at this target has failed. Returns whether the one before had not.
    pub fn failed(&self, target: &Arc<Address>, error: &io::Error) -> bool {
        if !self.is_current(target) {
            return false;
        }
        let mut reachability = self.reachability();
        reachability.failed(reason(error), Uptime::now(), realtime_micros());
        !self.is_failing.swap(true, Relaxed)
    }

    /// With the attempt that has succeeded last, if that is not known there.
    fn reachability(&self) -> MutexGuard<'_, Reachability> {
        let mut reachability = mutex::lock(&self.reachability);
        let reached = Some(self.reached_usec.load(Relaxed)).filter(|usec| *usec > 0);
        if let Some(reached) = reached.map(Uptime::from_micros) {
            if reachability.reached_at() != Some(reached) {
                reachability.reached(reached, reached.time_of_day());
                self.is_failing.store(false, Relaxed);
            }
        }
        reachability
    }

    /// Whether the last attempt has failed.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }

    /// Whether the last attempt was so lately that it still counts.
    pub fn is_known(&self, now: Uptime) -> bool {
        self.reachability().is_known(now)
    }

    /// Why the last attempt has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.reachability().failure().map(str::to_owned)
    }

    /// What is known, if anything is.
    pub fn status(&self) -> Option<UpstreamStatus> {
        self.reachability().status()
    }
}

fn identity(target: &Arc<Address>) -> usize {
    Arc::as_ptr(target).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::at;

    fn target() -> Arc<Address> {
        Arc::new("[::1]:80".parse().unwrap())
    }

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    fn error(watch: &UpstreamWatch) -> Option<String> {
        watch.status().and_then(|status| status.error)
    }

    #[test]
    fn each_turn_is_told_once_and_the_last_attempt_counts() {
        let (watch, target) = (UpstreamWatch::default(), target());
        watch.begin(&target);
        assert_eq!(watch.status(), None);
        assert!(watch.failed(&target, &refused()));
        assert!(!watch.failed(&target, &io::ErrorKind::TimedOut.into()));
        assert_eq!(error(&watch).as_deref(), Some("it does not answer"));
        for (moment, turns) in [(at(7), true), (at(7), false), (at(8), false)] {
            assert_eq!(watch.reached(&target, moment), turns);
            assert_eq!(error(&watch), None);
        }
        assert!(watch.failed(&target, &refused()));
        assert!(watch.reached(&target, at(8)));
        assert!(!watch.reached(&target, at(9)));
        assert_eq!(error(&watch), None);
    }

    #[test]
    fn a_moment_is_the_same_whenever_it_is_asked_for() {
        let (watch, target) = (UpstreamWatch::default(), target());
        watch.begin(&target);
        watch.reached(&target, Uptime::now());
        assert_eq!(watch.status(), watch.status());
        assert!(
            watch
                .status()
                .is_some_and(|status| status.reached_usec.is_some())
        );
    }

    #[test]
    fn attempts_at_an_earlier_target_say_nothing_of_this_one() {
        let (watch, before, now) = (UpstreamWatch::default(), target(), target());
        watch.begin(&before);
        watch.failed(&before, &refused());
        watch.begin(&now);
        assert!(!watch.failed(&before, &refused()) && !watch.reached(&before, at(1)));
        assert_eq!(watch.status(), None);
        assert!(!watch.is_failing());
    }
}
