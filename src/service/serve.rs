//! The life cycle of a service: it notifies systemd, and ends when it is not used or has to stop.
//!
//! It makes no decision. Whether a client may be accepted is up to the [`Service`], whether the process may end to
//! [`IdleTimer`] and [`Drain`].

mod service;

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

pub use service::{Lifetime, Service};

use super::alarm::Alarm;
use super::clock::Uptime;
use super::drain::{Drain, Step};
use super::event;
use super::idle::IdleTimer;
use super::listener::Listener;
use super::notify;
use super::plural::{clause, count};
use super::program::{FailedStep, Failure};
use super::signals::Signals;
use super::timespan::TimeSpan;

/// How long the service may take to accept a client that waits.
const ACCEPTING_TAKES: Duration = Duration::from_millis(1);

/// How late `STATUS=` may follow the numbers.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How late `STATUS=` may follow [`Service::changed`]: at most one message in this time.
const STATUS_SOON: Duration = Duration::from_millis(100);

/// Serves until the service is unused or has to stop. Fails when a listener breaks, or signals cannot be received.
pub async fn serve<S: Service>(
    service: Arc<S>,
    listeners: Arc<[Listener]>,
    lifetime: Lifetime,
) -> Result<ServeOutcome, Failure> {
    let can_return = listeners.iter().all(Listener::is_inherited);
    let exit_idle_time = lifetime.exit_idle_time.filter(|_| can_return);
    let mut life_cycle = LifeCycle {
        idle: IdleTimer::new(exit_idle_time),
        signals: Signals::new().map_err(FailedStep::of("signals cannot be caught"))?,
        watchdog: notify::watchdog_interval().map(|every| (every, Uptime::now())),
        status: String::new(),
        status_sent: Uptime::now(),
        status_due: Uptime::now(),
        alarm: Alarm::new().map_err(FailedStep::of("there is no timer"))?,
        service,
        listeners,
    };
    match life_cycle.run().await? {
        EndReason::Idle => {
            let limit = exit_idle_time.unwrap_or_default();
            notify::stopping("Not used; the next client starts it again.");
            tracing::info!(
                MESSAGE_ID = event::IDLE_EXIT,
                "nobody {}: ends now, the next client starts it again",
                unused_for(limit)
            );
        }
        EndReason::Signal if life_cycle.service.leaves() => {
            life_cycle.leave();
            return Ok(ServeOutcome::Left);
        }
        reason => {
            let by_signal = matches!(reason, EndReason::Signal);
            life_cycle.drain(lifetime.drain_timeout, by_signal).await;
        }
    }
    Ok(ServeOutcome::Over)
}

fn unused_for(limit: Duration) -> String {
    match limit {
        Duration::ZERO => "uses it".to_owned(),
        limit => format!("has used it for {}", TimeSpan::Finite(limit)),
    }
}

/// How long connections may go on.
fn allowance(open: usize, limit: Option<Duration>) -> String {
    match limit {
        Some(Duration::ZERO) => clause(open, "open connection", ("ends now", "end now")),
        limit => {
            let limit = limit.map(|limit| TimeSpan::Finite(limit).to_string());
            let limit = limit.as_deref().unwrap_or("as long as they want");
            format!("{} may go on for {limit}", count(open, "open connection"))
        }
    }
}

/// How a service has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeOutcome {
    /// No connection is open.
    Over,
    /// Open connections continue in the next process ([`Service::leaves`]).
    Left,
}

enum EndReason {
    Idle,
    Signal,
    Wish,
}

struct LifeCycle<S: Service> {
    service: Arc<S>,
    listeners: Arc<[Listener]>,
    idle: IdleTimer,
    signals: Signals,
    watchdog: Option<(Duration, Uptime)>,
    status: String,
    status_sent: Uptime,
    status_due: Uptime,
    alarm: Alarm,
}

impl<S: Service> LifeCycle<S> {
    async fn run(&mut self) -> Result<EndReason, Failure> {
        self.status = self.service.status(&self.listeners);
        self.status_due = Uptime::now() + STATUS_EVERY;
        notify::ready(&self.status);
        let names: Vec<String> = self.listeners.iter().map(ToString::to_string).collect();
        tracing::info!(MESSAGE_ID = event::READY, "ready on {}", names.join(", "));
        loop {
            let now = Uptime::now();
            let due = [self.maintain(now), self.update_status(now)];
            if let Some(failure) = self.service.failure() {
                return Err(failure);
            }
            if self.service.wants_to_end() {
                return Ok(EndReason::Wish);
            }
            self.idle.update(self.service.in_use(), now);
            if self.idle.expired(now) {
                if self.last_look(now) {
                    return Ok(EndReason::Idle);
                }
                // The client that waits is accepted by another task.
                tokio::task::yield_now().await;
            }
            let due = due.into_iter().chain([self.idle.deadline()]).flatten();
            tokio::select! {
                biased;
                signal = self.signals.next() => match signal {
                    Signal::HUP => self.reload(),
                    _ => return Ok(EndReason::Signal),
                },
                () = self.service.changed() => {
                    self.status_due = self.status_due.min(self.status_sent + STATUS_SOON);
                }
                () = self.alarm.wait(due.min()) => {}
            }
        }
    }

    /// Whether no client came while the time ran out. If so, none is accepted any more: the next one stays in the
    /// backlog for the process that systemd starts.
    fn last_look(&mut self, now: Uptime) -> bool {
        self.service.set_resting(true);
        let waiting = self.listeners.iter().any(Listener::has_waiting);
        if !waiting && !self.service.in_use() && self.service.may_exit() {
            return true;
        }
        self.service.set_resting(false);
        // A client that may pass is accepted in the next turn. One that may not (the gate is closed) keeps the
        // process alive, which would be started again at once.
        let from = match self.service.may_accept() {
            true => now + ACCEPTING_TAKES,
            false => now + self.idle.recheck_after(),
        };
        self.idle.restart(from);
        false
    }

    /// Does what is due for the service and the watchdog, also during a drain. Returns when more is due.
    fn maintain(&mut self, now: Uptime) -> Option<Uptime> {
        let watchdog = self.watchdog.as_mut();
        if let Some((every, due)) = watchdog.filter(|(_, due)| *due <= now) {
            // A ping that systemd does not take is repeated soon.
            *due = match self.service.is_alive() && !notify::watchdog() {
                true => now + STATUS_EVERY.min(*every),
                false => now + *every,
            };
        }
        let watchdog = self.watchdog.map(|(_, due)| due);
        [self.service.tick(now), watchdog]
            .into_iter()
            .flatten()
            .min()
    }

    /// Notifies systemd of the status if that is due. Returns when it is due again.
    fn update_status(&mut self, now: Uptime) -> Option<Uptime> {
        if self.status_due > now {
            return Some(self.status_due);
        }
        let status = self.service.status(&self.listeners);
        let is_new = status != self.status;
        if is_new {
            self.status_sent = now;
            // If systemd does not take it, it is new the next time, too.
            if notify::status(&status) {
                self.status = status;
            }
        }
        // Only a queue from which nobody is accepted grows without waking us. Otherwise an idle service sleeps.
        if is_new || !self.service.may_accept() {
            self.status_due = now + STATUS_EVERY;
            return Some(self.status_due);
        }
        None
    }

    fn reload(&self) {
        notify::reloading();
        match self.service.reload() {
            Some(Err(error)) => tracing::error!(ERROR = %error, "cannot reload: {error}"),
            Some(Ok(())) => tracing::info!("reloaded"),
            None => {}
        }
        notify::ready(&self.service.status(&self.listeners));
    }

    /// Leaves open connections to the next process. systemd is not notified: unless it stops the service itself,
    /// the service continues.
    fn leave(&self) {
        self.service.stopping();
        let open = self.service.connected();
        tracing::info!(
            MESSAGE_ID = event::STOPPING,
            OPEN = open,
            "stopping; {} if the next process is started now",
            clause(open, "open connection", ("goes on", "go on"))
        );
    }

    /// Lets open connections end, and asks systemd for the time that takes. A second signal ends it; `by_signal`: the
    /// first has come.
    async fn drain(&mut self, timeout: Option<Duration>, mut by_signal: bool) {
        self.service.stopping();
        let open = self.service.open();
        notify::stopping("Stopping.");
        if open > 0 {
            tracing::info!(
                MESSAGE_ID = event::STOPPING,
                OPEN = open,
                "stopping; {}",
                allowance(open, timeout)
            );
        }
        let mut drain = Drain::begin(timeout, Uptime::now());
        loop {
            if self.service.is_retired() {
                self.listeners = Arc::default();
            }
            let now = Uptime::now();
            let open = self.service.open();
            let due = match drain.step(open, now) {
                Step::Complete => return tracing::info!("stopped"),
                Step::TimedOut => {
                    return tracing::warn!(OPEN = open, "stopped; {} cut off", were(open));
                }
                Step::Wait { until, extend } => {
                    if let Some(extend) = extend {
                        notify::extend_timeout(extend);
                        let left = drain.left(now).map(|left| left.as_secs());
                        let left = left.map(|left| format!(", at most {left}s more"));
                        let left = left.unwrap_or_default();
                        notify::status(&format!("Stopping: {open} open{left}."));
                    }
                    self.maintain(now).map_or(until, |due| due.min(until))
                }
            };
            tokio::select! {
                signal = self.signals.next() => if signal != Signal::HUP {
                    let open = self.service.open();
                    if std::mem::replace(&mut by_signal, true) {
                        return tracing::warn!(OPEN = open, "told twice to stop: {} cut off", were(open));
                    }
                },
                () = self.service.changed() => {}
                () = self.alarm.wait(Some(due)) => {}
            }
        }
    }
}

fn were(open: usize) -> String {
    clause(open, "connection", ("was", "were"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_may_last_is_said_as_options_have_it() {
        let limit = |seconds| Some(Duration::from_secs(seconds));
        for (limit, text) in [
            (
                None,
                "2 open connections may go on for as long as they want",
            ),
            (limit(90), "2 open connections may go on for 1min 30s"),
            (limit(0), "2 open connections end now"),
        ] {
            assert_eq!(allowance(2, limit), text);
        }
        assert_eq!(unused_for(Duration::from_secs(300)), "has used it for 5min");
        assert_eq!(unused_for(Duration::ZERO), "uses it");
    }
}
