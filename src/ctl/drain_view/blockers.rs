//! The clients that hold up a drain: asked for again and again while it lasts.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::queued;
use crate::ctl::call::client::NamedProxy;
use crate::ctl::connections;
use crate::ctl::failure::CtlFailure;
use crate::ctl::status;
use crate::interface::ConnectionStatus;

#[derive(Clone, Copy)]
pub struct Rhythm {
    pub delay: Duration,
    pub interval: Duration,
    /// The queue, which is more work, is examined at every n-th time.
    pub queue_every: u64,
}

#[derive(Clone, Default)]
pub struct Blockers {
    pub connected: Vec<ConnectionStatus>,
    /// The number of clients in the queue that come from the same addresses.
    pub queued: usize,
}

/// The latest blockers, from a task of its own and over a connection of its own.
pub struct Watch {
    blockers: watch::Receiver<Blockers>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(proxy: &NamedProxy, rhythm: Rhythm) -> Self {
        let (sender, blockers) = watch::channel(Blockers::default());
        let task = tokio::spawn(observe(proxy.clone(), rhythm, sender));
        Self { blockers, task }
    }

    /// Waits for the next answer, for ever if there will be none. Cancel safe.
    pub async fn next(&mut self) -> Blockers {
        match self.blockers.changed().await {
            Ok(()) => self.blockers.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// While the proxy is away the last answer stays.
async fn observe(proxy: NamedProxy, rhythm: Rhythm, blockers: watch::Sender<Blockers>) {
    let (mut client, mut listeners) = (None, None);
    let mut ticks = interval_at(Instant::now() + rhythm.delay, rhythm.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 1_u64.. {
        ticks.tick().await;
        let connected = match connections::list(&proxy, &mut client).await {
            Ok(connected) => connections::that_hold_up(connected),
            Err(
                CtlFailure::Unreachable { .. }
                | CtlFailure::Lost { .. }
                | CtlFailure::Silent { .. },
            ) => {
                client = None;
                blockers.send_modify(|_| ()); // the time that has passed is news too
                continue;
            }
            // The proxy does not have this call; the bar and the counts remain.
            Err(_) => Vec::new(),
        };
        let mut queued = blockers.borrow().queued;
        if count % rhythm.queue_every == 0 {
            if listeners.is_none() {
                let status = status::get(&proxy).await.ok();
                listeners = status.map(|status| status.listeners);
            }
            let listeners = listeners.as_deref().unwrap_or_default();
            queued = queued::of_connected(listeners, &connected);
        }
        blockers.send_replace(Blockers { connected, queued });
    }
}
