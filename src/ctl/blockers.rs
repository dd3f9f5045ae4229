//! Who holds up a drain: looked at again and again while it is waited for.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::Proxy;
use super::connections;
use super::failure::Failure;
use super::{queued, status};
use crate::interface::{ConnectionStatus, ListenerStatus};

/// When to look.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// For the first time.
    pub after: Duration,
    /// From then on.
    pub every: Duration,
    /// At every so manieth time also into the queue, which is more work.
    pub queue: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Blockers {
    /// Who is connected.
    pub connected: Vec<ConnectionStatus>,
    /// How many clients in the queue come from the same addresses.
    pub queued: usize,
}

/// Looks, on a connection of its own: ages and counters change all the time.
#[derive(Debug)]
pub struct Watch {
    seen: watch::Receiver<Blockers>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to look.
    pub fn start(proxy: &Proxy, rhythm: Rhythm) -> Self {
        let (sender, seen) = watch::channel(Blockers::default());
        let look = Look {
            proxy: proxy.clone(),
            listeners: None,
            sender,
        };
        let task = tokio::spawn(look.run(rhythm));
        Self { seen, task }
    }

    /// Waits until it was looked again, for ever when that is over. Cancel safe.
    pub async fn next(&mut self) -> Blockers {
        match self.seen.changed().await {
            Ok(()) => self.seen.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Look {
    proxy: Proxy,
    /// Where clients wait, once it is known.
    listeners: Option<Vec<ListenerStatus>>,
    sender: watch::Sender<Blockers>,
}

impl Look {
    /// While the proxy is away what was seen last stays.
    async fn run(mut self, rhythm: Rhythm) {
        let mut client = None;
        let mut ticks = interval_at(Instant::now() + rhythm.after, rhythm.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for time in 1_u64.. {
            ticks.tick().await;
            let connected = match connections::list(&self.proxy, &mut client).await {
                Ok(connected) => connected,
                Err(
                    Failure::Unreachable { .. } | Failure::Lost { .. } | Failure::Silent { .. },
                ) => {
                    client = None;
                    self.sender.send_modify(|_| ()); // the time that has passed is news too
                    continue;
                }
                // Not even this can be asked; the bar and the counts remain.
                Err(_) => Vec::new(),
            };
            let queued = match time % rhythm.queue {
                0 => self.queued(&connected).await,
                _ => self.sender.borrow().queued,
            };
            self.sender.send_replace(Blockers { connected, queued });
        }
    }

    async fn queued(&mut self, connected: &[ConnectionStatus]) -> usize {
        if self.listeners.is_none() {
            let status = status::get(&self.proxy).await.ok();
            self.listeners = status.map(|status| status.listeners);
        }
        let listeners = self.listeners.as_deref().unwrap_or_default();
        queued::of_connected(listeners, connected)
    }
}
