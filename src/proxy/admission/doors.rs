//! The listeners, which are watched exactly while the gate is open.

use std::sync::Arc;

use crate::service::listener::Listener;
use crate::service::poller::{Flags, Poller};

/// The listeners, as the accepting thread watches them. A listener that is watched and not accepted from
/// would wake that thread again and again.
#[derive(Debug)]
pub struct Doors {
    poller: Arc<Poller>,
    first_token: u64,
    listeners: Arc<[Listener]>,
    are_open: bool,
    /// Whether accepting pauses, whatever the state of the gate.
    pub(super) is_paused: bool,
}

impl Doors {
    /// Closed doors. The listeners have consecutive tokens.
    pub fn new(poller: Arc<Poller>, first_token: u64, listeners: Arc<[Listener]>) -> Self {
        Self {
            poller,
            first_token,
            listeners,
            are_open: false,
            is_paused: false,
        }
    }

    pub(super) fn follow(&mut self, may_accept: bool) {
        let open = may_accept && !self.is_paused;
        if open == self.are_open {
            return;
        }
        self.are_open = open;
        for (token, listener) in (self.first_token..).zip(self.listeners.iter()) {
            if !open {
                self.poller.remove(listener);
                listener.expect_old();
            } else if let Err(error) = self.poller.add(listener, token, Flags::IN) {
                tracing::error!(
                    ERROR = %error, LISTENER = %listener,
                    "nobody is accepted on {listener}: it cannot be watched: {error}"
                );
                // The next change tries again.
                self.are_open = false;
            }
        }
    }

    /// Leaves the listeners to another process.
    pub(super) fn leave(&mut self) {
        self.follow(false);
        self.listeners = Arc::default();
    }
}
