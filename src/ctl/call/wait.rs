//! `Lock` and `Switch`: calls that wait for the drain, across restarts of the proxy.
//!
//! A task of its own makes the call, so that sending is never cancelled half-way. If the connection breaks,
//! because the proxy was restarted or killed, the task connects again (systemd holds the socket and starts the
//! next process) and repeats the call, which is idempotent, with the times that are left.

use std::ffi::OsStr;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::client::NamedProxy;
use super::patience::{LOST, Reconnection};
use crate::ctl::drain_view::view::View;
use crate::ctl::failure::CtlFailure;
use crate::ctl::when_closed;
use crate::interface::{GateReply, GateState, LockParameters, SwitchParameters};
use crate::service::clock::micros;
use crate::service::signals::Signals;

/// The time for the report of a proxy after the drain's own timeout.
const GRACE: Duration = Duration::from_secs(10);

/// A call that waits for the drain. It serializes to its parameters.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum DrainCall {
    /// Complete when the drain is. With `hold` the wait lasts until the caller hangs up.
    Lock(LockParameters),
    /// Complete when the gate has been opened again.
    Switch(SwitchParameters),
}

impl DrainCall {
    fn method(&self) -> &'static str {
        match self {
            Self::Lock(_) => "Lock",
            Self::Switch(_) => "Switch",
        }
    }

    /// The timeout, the progress timeout and the time of force, in microseconds.
    fn drain_times(&mut self) -> [&mut Option<u64>; 3] {
        match self {
            Self::Lock(parameters) => [
                &mut parameters.timeout_usec,
                &mut parameters.progress_timeout_usec,
                &mut parameters.force_after_usec,
            ],
            Self::Switch(parameters) => [
                &mut parameters.timeout_usec,
                &mut parameters.progress_timeout_usec,
                &mut parameters.force_after_usec,
            ],
        }
    }

    /// The longest time until the last reply, if the drain has a timeout. A new target is tried before and after it.
    fn limit(&self) -> Option<Duration> {
        let (timeout, probe) = match self {
            Self::Lock(parameters) => (parameters.timeout_usec, None),
            Self::Switch(parameters) => (parameters.timeout_usec, parameters.probe_usec),
        };
        let probe = Duration::from_micros(probe.unwrap_or(0));
        Some(Duration::from_micros(timeout?) + 2 * probe + GRACE)
    }

    fn is_hold(&self) -> bool {
        matches!(self, Self::Lock(parameters) if parameters.hold == Some(true))
    }

    /// Whether `reply` completes the call; `last`: no other follows.
    fn is_complete(&self, reply: &GateReply, last: bool) -> bool {
        last || self.is_hold() && reply.gate == GateState::Locked
    }

    /// The call to make after `elapsed` of its time. `None` when its lease is over.
    fn after(&self, elapsed: Duration) -> Option<Self> {
        let reduce = |time: &mut Option<u64>| {
            *time = time.map(|usec| usec.saturating_sub(micros(elapsed)));
            *time
        };
        let mut call = self.clone();
        let [timeout, _, force_after] = call.drain_times();
        reduce(timeout);
        reduce(force_after);
        if let Self::Lock(parameters) = &mut call {
            let is_over = reduce(&mut parameters.lease_usec) == Some(0);
            if is_over && !elapsed.is_zero() {
                return None;
            }
        }
        Some(call)
    }
}

pub enum CallEvent {
    Reply {
        reply: GateReply,
        /// Whether this is what the caller waits for.
        complete: bool,
    },
    /// The connection broke; the call is being repeated.
    Lost,
    /// The proxy is there again.
    Back,
}

pub fn catch_signals() -> Result<Signals, CtlFailure> {
    let what = "signals cannot be caught";
    Signals::of_command().map_err(|error| CtlFailure::System { what, error })
}

/// Makes the call, waits until it is complete and shows its progress unless `silent`.
pub async fn complete(
    proxy: &NamedProxy,
    call: DrainCall,
    when_closed: Option<&OsStr>,
    silent: bool,
) -> Result<GateReply, CtlFailure> {
    let mut signals = catch_signals()?;
    let mut call = PendingCall::start(proxy, call);
    let mut view = View::new(proxy, silent);
    call.complete(when_closed, &mut view, &mut signals).await
}

pub struct PendingCall {
    proxy: NamedProxy,
    events: mpsc::Receiver<Result<CallEvent, CtlFailure>>,
    task: JoinHandle<()>,
}

impl PendingCall {
    pub fn start(proxy: &NamedProxy, call: DrainCall) -> Self {
        let (events_sender, events) = mpsc::channel(16);
        let task = CallTask {
            proxy: proxy.clone(),
            call,
            started: Instant::now(),
            events: events_sender,
        };
        Self {
            proxy: proxy.clone(),
            events,
            task: tokio::spawn(task.run()),
        }
    }

    /// Waits for the next event; pending for ever after a failure, which is the last one. Cancel safe.
    pub async fn next(&mut self) -> Result<CallEvent, CtlFailure> {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Waits until the call is complete, and shows its progress. Runs `when_closed` at the first reply: the gate
    /// is closed then. A signal is a failure.
    pub async fn complete(
        &mut self,
        mut when_closed: Option<&OsStr>,
        view: &mut View,
        signals: &mut Signals,
    ) -> Result<GateReply, CtlFailure> {
        loop {
            tokio::select! {
                event = self.next() => match event {
                    Err(failure) => {
                        if failure.is_given_up() {
                            view.give_up(&self.proxy).await;
                        }
                        return Err(failure);
                    }
                    Ok(CallEvent::Reply { reply, complete }) => {
                        if let Some(command) = when_closed.take() {
                            when_closed::run(command, &self.proxy, view, signals).await?;
                        }
                        if complete {
                            view.clear();
                            return Ok(reply);
                        }
                        view.reply(reply);
                    }
                    Ok(CallEvent::Lost) => view.note(LOST),
                    Ok(CallEvent::Back) => view.note("the proxy is there again and was asked again"),
                },
                _ = signals.next() => return Err(CtlFailure::Interrupted),
                () = view.refresh() => {}
            }
        }
    }

    /// Hangs up, and returns when that is done.
    pub async fn hang_up(self) {
        self.task.abort();
        // The error is the cancellation.
        let _ = self.task.await;
    }
}

struct CallTask {
    proxy: NamedProxy,
    call: DrainCall,
    started: Instant,
    events: mpsc::Sender<Result<CallEvent, CtlFailure>>,
}

impl CallTask {
    async fn notify(&self, event: Result<CallEvent, CtlFailure>) {
        // It fails when the receiver is gone, and then this task is about to be aborted.
        let _ = self.events.send(event).await;
    }

    async fn run(mut self) {
        let mut reconnection = Reconnection::default();
        while let Err(failure) = self.attempt(&mut reconnection).await {
            if reconnection.begin(&failure) {
                self.notify(Ok(CallEvent::Lost)).await;
            }
            if !reconnection.pause(&failure).await {
                return self.notify(Err(failure)).await;
            }
        }
    }

    /// Makes the call once and passes on the replies, until the last one.
    async fn attempt(&mut self, reconnection: &mut Reconnection) -> Result<(), CtlFailure> {
        let call = match reconnection.is_under_way() {
            true => self.call.after(self.started.elapsed()),
            false => Some(self.call.clone()),
        };
        let call = call.ok_or_else(|| CtlFailure::Unlocked("lease".to_owned()))?;
        // A proxy that hangs does not report its timeout.
        let limit = call.limit();
        let mut deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut client = self.proxy.connect().await?;
        client.call(call.method(), &call, true).await?;
        loop {
            let answer = match deadline {
                None => client.reply::<GateReply>().await?,
                Some(deadline) => timeout_at(deadline, client.reply())
                    .await
                    .map_err(|_| self.proxy.silent(limit.unwrap_or_default()))??,
            };
            if reconnection.finish() {
                self.notify(Ok(CallEvent::Back)).await;
            }
            let (reply, last) = (answer.parameters, !answer.continues);
            if last && call.is_hold() {
                return Err(client.foreign("it ended a call that holds the lock"));
            }
            if last && matches!(call, DrainCall::Lock(_)) && reply.gate != GateState::Locked {
                return Err(client.foreign("it ended the call before the drain was complete"));
            }
            let complete = call.is_complete(&reply, last);
            if complete {
                // The drain is complete: it cannot time out any more, nor can a repetition of the call.
                deadline = None;
                let [timeout, progress_timeout, _] = self.call.drain_times();
                (*timeout, *progress_timeout) = (None, None);
            }
            self.notify(Ok(CallEvent::Reply { reply, complete })).await;
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

    fn lock(timeout: Option<u64>, lease: Option<u64>) -> DrainCall {
        DrainCall::Lock(LockParameters {
            timeout_usec: timeout,
            lease_usec: lease,
            ..LockParameters::default()
        })
    }

    #[test]
    fn a_repeated_call_has_the_times_that_are_left() {
        let call = lock(Some(5 * SECOND), Some(20 * SECOND));
        let Some(DrainCall::Lock(left)) = call.after(Duration::from_secs(8)) else {
            panic!("the lease is not over");
        };
        assert_eq!(left.timeout_usec, Some(0));
        assert_eq!(left.lease_usec, Some(12 * SECOND));
        assert!(call.after(Duration::from_secs(20)).is_none());
        let unlimited = lock(None, None).after(Duration::from_secs(1_000_000));
        assert!(unlimited.is_some());
    }

    #[test]
    fn a_lock_that_is_held_is_complete_when_drained_and_others_with_the_last_reply() {
        let reply = |gate| GateReply {
            gate,
            open: 0,
            queued: 0,
            closed_idle: 0,
            detached: 0,
        };
        let hold = DrainCall::Lock(LockParameters {
            hold: Some(true),
            ..Default::default()
        });
        assert!(hold.is_complete(&reply(GateState::Locked), false));
        assert!(!hold.is_complete(&reply(GateState::Draining), false));
        assert!(!lock(None, None).is_complete(&reply(GateState::Locked), false));
        assert!(lock(None, None).is_complete(&reply(GateState::Locked), true));
    }
}
