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
    /// Which of the listeners are watched.
    are_watched: Vec<bool>,
    /// What was asked for last.
    are_open: bool,
    /// Whether accepting pauses, in any state of the gate.
    pub(super) is_paused: bool,
}

impl Doors {
    /// Closed doors. The listeners have consecutive tokens.
    pub fn new(poller: Arc<Poller>, first_token: u64, listeners: Arc<[Listener]>) -> Self {
        Self {
            poller,
            first_token,
            are_watched: vec![false; listeners.len()],
            listeners,
            are_open: false,
            is_paused: false,
        }
    }

    /// Opens or closes them. A listener that cannot be watched is tried again by the next call, and logged once
    /// for each opening.
    pub(super) fn follow(&mut self, may_accept: bool) {
        let open = may_accept && !self.is_paused;
        let is_change = std::mem::replace(&mut self.are_open, open) != open;
        let listeners = (self.first_token..).zip(self.listeners.iter());
        for ((token, listener), is_watched) in listeners.zip(&mut self.are_watched) {
            if *is_watched == open {
                continue;
            }
            if !open {
                self.poller.remove(listener);
                listener.expect_old();
                *is_watched = false;
                continue;
            }
            match self.poller.add(listener, token, Flags::IN) {
                Ok(()) => *is_watched = true,
                Err(error) if is_change => tracing::error!(
                    ERROR = %error, LISTENER = %listener,
                    "nobody is accepted on {listener}: it cannot be watched: {error}"
                ),
                Err(_) => {}
            }
        }
    }

    /// Leaves the listeners to another process.
    pub(super) fn leave(&mut self) {
        self.follow(false);
        self.listeners = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::address::Address;
    use crate::service::poller::Events;
    use std::net::TcpStream;
    use std::time::Duration;

    const FIRST: u64 = 7;

    /// The tokens of the doors where clients wait.
    fn knocks(poller: &Poller) -> Vec<u64> {
        let mut events = Events::new();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let tokens = (0..events.len()).filter_map(|index| events.get(index));
        let mut tokens: Vec<u64> = tokens.map(|(token, _)| token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn a_listener_that_cannot_be_watched_changes_nothing_for_the_others() {
        let anywhere = Address::parse_listen("127.0.0.1:0").unwrap();
        let listeners: Arc<[Listener]> = Listener::bind_all(&[anywhere.clone(), anywhere])
            .unwrap()
            .into();
        let poller = Arc::new(Poller::new().unwrap());
        let mut doors = Doors::new(Arc::clone(&poller), FIRST, Arc::clone(&listeners));
        let _clients: Vec<_> = listeners
            .iter()
            .map(|listener| TcpStream::connect(listener.to_string()).unwrap())
            .collect();
        // epoll(7) adds no descriptor twice.
        let occupy = || poller.add(&listeners[1], 0, Flags::empty()).unwrap();

        occupy();
        doors.follow(true);
        assert_eq!(knocks(&poller), [FIRST]);
        doors.follow(false);
        assert!(knocks(&poller).is_empty());

        doors.follow(true);
        assert_eq!(knocks(&poller), [FIRST]);
        poller.remove(&listeners[1]);
        doors.follow(true);
        assert_eq!(knocks(&poller), [FIRST, FIRST + 1]);
        doors.follow(false);
        assert!(knocks(&poller).is_empty());
    }
}
