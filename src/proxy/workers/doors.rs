//! Whether the first thread hears of clients.

use std::sync::Arc;

use super::post::Post;
use super::token::DOORS;
use crate::proxy::admission;
use crate::service::listener::Listener;
use crate::service::poller::Flags;

/// The listeners, as the first thread sees them. They are watched exactly while a client may be
/// accepted there: a listener that is watched and not accepted from would wake the thread again and
/// again.
#[derive(Debug)]
pub(super) struct WatchedDoors {
    post: Arc<Post>,
    listeners: Arc<[Listener]>,
    are_open: bool,
    paused: bool,
}

impl WatchedDoors {
    pub(super) fn new(post: Arc<Post>, listeners: Arc<[Listener]>) -> Self {
        Self {
            post,
            listeners,
            are_open: false,
            paused: false,
        }
    }
}

impl admission::Doors for WatchedDoors {
    fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    fn follow(&mut self, may_accept: bool) {
        let open = may_accept && !self.paused;
        if open == self.are_open {
            return;
        }
        self.are_open = open;
        for (token, listener) in (DOORS..).zip(self.listeners.iter()) {
            if !open {
                self.post.poller.remove(listener);
                listener.expect_old();
            } else if let Err(error) = self.post.poller.add(listener, token, Flags::IN) {
                tracing::error!(
                    ERROR = %error, LISTENER = %listener,
                    "nobody is accepted on {listener}: it cannot be watched: {error}"
                );
                // Tried again with the next change.
                self.are_open = false;
            }
        }
    }

    fn leave(&mut self) {
        self.follow(false);
        self.listeners = Arc::default();
    }
}
