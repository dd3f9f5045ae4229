//! Telling clients that wait for an upstream that the gate has closed, and detached ones that the process is to end.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::proxy::admission::Attaching;
use crate::proxy::route::Route;

/// Follows [`Attaching`].
#[derive(Debug, Default)]
pub(super) struct DetachingSignal {
    is_ending: AtomicBool,
    turned: Notify,
}

impl DetachingSignal {
    pub(super) fn turn(&self, when: Attaching) {
        self.is_ending.store(when == Attaching::Never, Relaxed);
        self.turned.notify_waiters();
    }

    /// Whether detached clients are ended, because the process is about to end.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Relaxed)
    }

    /// Waits until clients without an upstream are detached ([`is_detaching`]). Cancel safe.
    pub(super) async fn begun(&self, route: &Route) {
        loop {
            let turned = self.turned.notified();
            if is_detaching(route) {
                return;
            }
            turned.await;
        }
    }
}

/// Whether connections are detached as soon as they are between two requests.
pub(super) fn is_detaching(route: &Route) -> bool {
    route.settings.requests.is_some() && route.admission.is_detaching()
}
