//! Noticing that the last will has ended before its time, and having it made again.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::event;
use super::keep::Keep;
use crate::service::clock::Uptime;
use crate::service::kernel;

/// After so long it is made again if that was not possible, or if it has ended as soon as it was there.
const AGAIN: Duration = Duration::from_secs(5);

/// What the main loop knows of the last will.
#[derive(Debug, Default)]
pub(super) struct LastWill {
    /// It becomes readable when the will ends; `None` if there is no will, or if it is not watched yet.
    watch: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    has_ended: AtomicBool,
    /// It was told that there is none.
    is_missing: AtomicBool,
    /// When it may be made again, in microseconds since boot.
    due: AtomicU64,
}

impl LastWill {
    fn watch(&self) -> MutexGuard<'_, Option<Arc<AsyncFd<OwnedFd>>>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches it; whether there is one.
    fn begin(&self, keep: Keep) -> io::Result<bool> {
        let Some(end) = keep.end_of_will()? else {
            return Ok(false);
        };
        *self.watch() = Some(Arc::new(kernel::watch(end, Interest::READABLE)?));
        Ok(true)
    }

    /// Waits until the last will has ended, which only a kill does. Cancel safe.
    pub(super) async fn ends(&self) {
        let watch = self.watch().clone();
        match watch {
            Some(watch) if !self.has_ended.load(Relaxed) => {
                // It fails only when the runtime ends.
                let _ = watch.readable().await;
                self.has_ended.store(true, Relaxed);
            }
            _ => pending().await,
        }
    }

    /// Makes the last will if there is none. Returns when to try it the next time.
    pub(super) fn look_after(&self, keep: Keep, now: Uptime) -> Option<Uptime> {
        let has_ended = self.has_ended.load(Relaxed);
        if !has_ended && self.watch().is_some() {
            return None;
        }
        let due = Uptime::from_micros(self.due.load(Relaxed));
        if now < due {
            return Some(due);
        }
        self.has_ended.store(false, Relaxed);
        *self.watch() = None;
        let made = keep.make_will().and_then(|()| self.begin(keep));
        if has_ended || made.is_err() {
            self.due.store((now + AGAIN).as_micros(), Relaxed);
        }
        match made {
            Ok(_) if has_ended => tell_made("the last will was killed, and was made again"),
            Ok(_) if self.is_missing.swap(false, Relaxed) => {
                tell_made(
                    "the last will could be made: nobody is lost any more when this process is killed",
                );
            }
            Ok(_) => {}
            Err(error) => {
                if !self.is_missing.swap(true, Relaxed) && has_ended {
                    tell_missing(&error);
                }
                return Some(now + AGAIN);
            }
        }
        None
    }
}

fn tell_made(what: &str) {
    tracing::warn!(MESSAGE_ID = event::LAST_WILL, "{what}");
}

/// There is no last will.
pub(super) fn tell_missing(error: &io::Error) {
    tracing::warn!(
        MESSAGE_ID = event::LAST_WILL, ERROR = %error,
        "there is no last will, so that a client which is being accepted when this process is killed is lost, \
         and systemd starts the next process: {error} (raise TasksMax=, MemoryMax= or LimitNPROC=); it is \
         tried again every {} s", AGAIN.as_secs()
    );
}
