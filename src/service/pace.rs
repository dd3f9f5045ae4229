//! A start that fails takes its time.
//!
//! systemd starts a service again that has failed, and the next client starts it too: at once and without
//! a limit, because that is what connections wait for and what an idle exit needs. A service that cannot
//! start, say for an option that makes no sense, would keep a processor busy with it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// So long; a signal ends it at once.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the start has succeeded.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The start has succeeded: whatever happens from now on, the next one may be at once.
pub(super) fn started() {
    STARTED.store(true, Relaxed);
}

/// The process is about to end because of a failure that has been told: waits, if it was its start that
/// failed, and if it was systemd that started it.
pub fn failed() {
    if !STARTED.load(Relaxed) && std::env::var_os("NOTIFY_SOCKET").is_some() {
        std::thread::sleep(PAUSE);
    }
}
