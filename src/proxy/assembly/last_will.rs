//! Noticing that the last will has ended before its time, and renewing it.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::proxy::event;
use crate::proxy::keep::Keep;
use crate::service::clock::Uptime;
use crate::service::kernel;
use crate::service::mutex;

/// The pause before it is made again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What the main loop knows of the last will.
#[derive(Debug, Default)]
pub struct LastWill {
    /// It becomes readable when the will ends; `None` if there is no will, or if it is not watched yet.
    watch: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    has_ended: AtomicBool,
    /// Whether it could not be made.
    is_missing: AtomicBool,
    /// When it may be made, in microseconds since boot.
    due: AtomicU64,
}

impl LastWill {
    /// Makes and watches it.
    fn make(&self, keep: Keep) -> io::Result<()> {
        keep.make_will()?;
        if let Some(end) = keep.end_of_will()? {
            *mutex::lock(&self.watch) = Some(Arc::new(kernel::watch(end, Interest::READABLE)?));
        }
        Ok(())
    }

    /// Waits until the last will has ended, which only a kill does. Cancel safe.
    pub async fn ends(&self) {
        let watch = mutex::lock(&self.watch).clone();
        match watch {
            Some(watch) if !self.has_ended.load(Relaxed) => {
                // It fails only when the runtime ends.
                let _ = watch.readable().await;
                self.has_ended.store(true, Relaxed);
            }
            _ => pending().await,
        }
    }

    /// Makes the last will if there is none. Returns the time of the next call.
    pub(super) fn renew(&self, keep: Keep, now: Uptime) -> Option<Uptime> {
        let has_ended = self.has_ended.load(Relaxed);
        if !has_ended && mutex::lock(&self.watch).is_some() {
            return None;
        }
        let due = Uptime::from_micros(self.due.load(Relaxed));
        if now < due {
            return Some(due);
        }
        self.has_ended.store(false, Relaxed);
        *mutex::lock(&self.watch) = None;
        let result = self.make(keep);
        if has_ended || result.is_err() {
            self.due.store((now + RETRY_PAUSE).as_micros(), Relaxed);
        }
        if let Err(error) = result {
            if !self.is_missing.swap(true, Relaxed) && has_ended {
                log_missing(&error);
            }
            return Some(now + RETRY_PAUSE);
        }
        let news = match self.is_missing.swap(false, Relaxed) {
            _ if has_ended => "the last will was killed, and was made again",
            true => {
                "the last will could be made: nobody is lost any more when this process is killed"
            }
            false => return None,
        };
        tracing::warn!(MESSAGE_ID = event::LAST_WILL, "{news}");
        None
    }
}

/// Logs that there is no last will.
pub fn log_missing(error: &io::Error) {
    tracing::warn!(
        MESSAGE_ID = event::LAST_WILL, ERROR = %error,
        "there is no last will, so that a client which is being accepted when this process is killed is lost, \
         and systemd starts the next process: {error} (raise TasksMax=, MemoryMax= or LimitNPROC=); it is \
         tried again every {} s", RETRY_PAUSE.as_secs()
    );
}
