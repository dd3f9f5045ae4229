//! `Lock` and `Switch`: calls that wait for the drain, across restarts of the proxy.
//!
//! A task of its own makes the call, so that its sending is never interrupted half-way by what else
//! happens. If the connection breaks, because the proxy was restarted or killed, it connects again
//! (the socket is systemd's, who starts the next process) and repeats the call, which is idempotent,
//! with the times that are left.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::client::{Patience, Proxy};
use super::failure::Failure;
use super::signals::Signals;
use super::view::View;
use crate::interface::{GateReply, GateState, LockParameters, SwitchParameters};
use crate::service::clock::micros;

/// How much later than the drain's own timeout a proxy may tell that it was reached.
const GRACE: Duration = Duration::from_secs(10);

/// A call that waits for the drain.
#[derive(Clone, Debug)]
pub enum Request {
    /// Complete when the drain is. With `hold` it goes on until the caller hangs up.
    Lock(LockParameters),
    /// Complete when the gate has been opened again.
    Switch(SwitchParameters),
}

impl Request {
    fn method(&self) -> &'static str {
        match self {
            Self::Lock(_) => "Lock",
            Self::Switch(_) => "Switch",
        }
    }

    fn parameters(&self) -> serde_json::Value {
        fn value(parameters: &impl Serialize) -> serde_json::Value {
            serde_json::to_value(parameters).unwrap_or_default()
        }
        match self {
            Self::Lock(parameters) => value(parameters),
            Self::Switch(parameters) => value(parameters),
        }
    }

    fn timeout_usec(&self) -> Option<u64> {
        match self {
            Self::Lock(parameters) => parameters.timeout_usec,
            Self::Switch(parameters) => parameters.timeout_usec,
        }
    }

    /// How long the proxy tries to reach a target in the course of it: before the drain and after it.
    fn probing(&self) -> Duration {
        match self {
            Self::Lock(_) => Duration::ZERO,
            Self::Switch(parameters) => {
                2 * Duration::from_micros(parameters.probe_usec.unwrap_or(0))
            }
        }
    }

    fn drained(&mut self) {
        match self {
            Self::Lock(parameters) => {
                (parameters.timeout_usec, parameters.progress_timeout_usec) = (None, None);
            }
            Self::Switch(parameters) => {
                (parameters.timeout_usec, parameters.progress_timeout_usec) = (None, None);
            }
        }
    }

    fn holds(&self) -> bool {
        matches!(
            self,
            Self::Lock(LockParameters {
                hold: Some(true),
                ..
            })
        )
    }

    /// Whether `reply` is what the caller waits for.
    fn is_complete(&self, reply: &GateReply, last: bool) -> bool {
        last || self.holds() && reply.gate == GateState::Locked
    }

    /// The call to make when so much of its time has passed. `None` when its lease is over.
    fn after(&self, elapsed: Duration) -> Option<Self> {
        let left = |time: &mut Option<u64>| {
            *time = time.map(|usec| usec.saturating_sub(micros(elapsed)));
            *time
        };
        let mut request = self.clone();
        match &mut request {
            Self::Lock(parameters) => {
                left(&mut parameters.timeout_usec);
                left(&mut parameters.force_after_usec);
                if left(&mut parameters.lease_usec) == Some(0) && !elapsed.is_zero() {
                    return None;
                }
            }
            Self::Switch(parameters) => {
                left(&mut parameters.timeout_usec);
                left(&mut parameters.force_after_usec);
            }
        }
        Some(request)
    }
}

/// What happens to the call.
#[derive(Debug)]
pub enum Event {
    /// The proxy replied.
    Reply {
        /// What.
        reply: GateReply,
        /// Whether this is what the caller waited for.
        complete: bool,
    },
    /// The connection broke; it is tried again.
    Lost,
    /// The proxy is there again.
    Back,
}

/// A call under way.
#[derive(Debug)]
pub struct Waiting {
    events: mpsc::Receiver<Result<Event, Failure>>,
    task: JoinHandle<()>,
}

impl Waiting {
    /// Makes the call.
    pub fn start(proxy: &Proxy, request: Request) -> Self {
        let (sender, events) = mpsc::channel(16);
        let caller = Caller {
            proxy: proxy.clone(),
            request,
            started: Instant::now(),
            sender,
        };
        Self {
            events,
            task: tokio::spawn(caller.run()),
        }
    }

    /// Waits for what happens next, for ever after the end. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the call fails; that is the end.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Waits until the call is complete, and shows how it goes on.
    ///
    /// # Errors
    ///
    /// When the call fails, or a signal comes first.
    pub async fn complete(
        &mut self,
        view: &mut View,
        signals: &mut Signals,
    ) -> Result<GateReply, Failure> {
        loop {
            tokio::select! {
                event = self.next() => match event? {
                    Event::Reply { reply, complete: true } => {
                        view.clear();
                        return Ok(reply);
                    }
                    Event::Reply { reply, .. } => view.reply(reply),
                    Event::Lost => view.lost(),
                    Event::Back => view.back(),
                },
                _ = signals.next() => return Err(Failure::Interrupted),
                () = view.refresh() => {}
            }
        }
    }

    /// Hangs up, and returns when that is done.
    pub async fn hang_up(self) {
        self.task.abort();
        // It ends as cancelled, which is what was asked for.
        let _ = self.task.await;
    }
}

struct Caller {
    proxy: Proxy,
    request: Request,
    started: Instant,
    sender: mpsc::Sender<Result<Event, Failure>>,
}

impl Caller {
    /// A send fails only when nobody listens any more, who then aborts this task.
    async fn tell(&self, event: Result<Event, Failure>) {
        let _ = self.sender.send(event).await;
    }

    async fn run(mut self) {
        let mut lost: Option<Patience> = None;
        loop {
            let failure = match self.call(&mut lost).await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            let broken = matches!(failure, Failure::Lost { .. });
            if broken && lost.is_none() {
                self.tell(Ok(Event::Lost)).await;
                lost = Some(Patience::default());
            }
            // While a process is replaced its socket may be missing or refuse for a moment.
            let patience = lost.as_mut().filter(|_| broken || failure.is_absence());
            let again = match patience {
                Some(patience) => patience.pause().await,
                None => false,
            };
            if !again {
                return self.tell(Err(failure)).await;
            }
        }
    }

    /// Makes the call once and passes on what is replied, until the last reply.
    async fn call(&mut self, lost: &mut Option<Patience>) -> Result<(), Failure> {
        let request = match lost {
            Some(_) => self.request.after(self.started.elapsed()),
            None => Some(self.request.clone()),
        };
        let request = request.ok_or_else(|| Failure::Unlocked {
            reason: "lease".to_owned(),
        })?;
        // A proxy that hangs does not tell that the timeout is over.
        let limit = request
            .timeout_usec()
            .map(|usec| Duration::from_micros(usec) + request.probing() + GRACE);
        let mut deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut client = self.proxy.connect().await?;
        client
            .call(request.method(), request.parameters(), true)
            .await?;
        loop {
            let answer = match deadline {
                None => client.reply::<GateReply>().await?,
                Some(deadline) => timeout_at(deadline, client.reply())
                    .await
                    .map_err(|_| self.proxy.silent(limit.unwrap_or_default()))??,
            };
            if lost.take().is_some() {
                self.tell(Ok(Event::Back)).await;
            }
            let (reply, last) = (answer.parameters, !answer.continues);
            if last && request.holds() {
                return Err(client.foreign("it ended a call that holds the lock"));
            }
            if last && matches!(request, Request::Lock(_)) && reply.gate != GateState::Locked {
                return Err(client.foreign("it ended the call before the drain was complete"));
            }
            let complete = request.is_complete(&reply, last);
            if complete {
                // The timeout was the drain's: it is over for this call and its repetitions.
                deadline = None;
                self.request.drained();
            }
            self.tell(Ok(Event::Reply { reply, complete })).await;
            if last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn lock(timeout: Option<u64>, lease: Option<u64>) -> Request {
        Request::Lock(LockParameters {
            timeout_usec: timeout,
            lease_usec: lease,
            ..LockParameters::default()
        })
    }

    #[test]
    fn a_repeated_call_has_the_times_that_are_left() {
        let request = lock(Some(5 * SECOND), Some(20 * SECOND));
        let Some(Request::Lock(left)) = request.after(Duration::from_secs(8)) else {
            panic!("the lease is not over");
        };
        assert_eq!(
            (left.timeout_usec, left.lease_usec),
            (Some(0), Some(12 * SECOND))
        );
        assert!(request.after(Duration::from_secs(20)).is_none());
        assert!(
            lock(None, None)
                .after(Duration::from_secs(1_000_000))
                .is_some()
        );
    }

    #[test]
    fn a_lock_that_is_held_is_complete_when_drained_and_others_with_the_last_reply() {
        let reply = |gate| GateReply {
            gate,
            open: 0,
            queued: 0,
        };
        let hold = Request::Lock(LockParameters {
            hold: Some(true),
            ..Default::default()
        });
        assert!(hold.is_complete(&reply(GateState::Locked), false));
        assert!(!hold.is_complete(&reply(GateState::Draining), false));
        assert!(!lock(None, None).is_complete(&reply(GateState::Locked), false));
        assert!(lock(None, None).is_complete(&reply(GateState::Locked), true));
    }
}
