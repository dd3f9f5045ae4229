//! The life cycle of a service: it notifies systemd, and ends when it is not used or is told to.
//!
//! It takes no decision itself. Whether a client may be accepted is the [`Service`]'s to say,
//! whether the process may end [`IdleTimer`]'s and [`Drain`]'s.

mod service;

use std::sync::Arc;
use std::time::Duration;

pub use service::{Lifetime, Service};

use super::alarm::Alarm;
use super::clock::Uptime;
use super::drain::{Drain, Step};
use super::event;
use super::idle::IdleTimer;
use super::listener::Listener;
use super::notify;
use super::plural::clause;
use super::program::Failure;
use super::signals::{Order, Signals};

/// How long the service may take to accept a client that waits.
const ACCEPTING_TAKES: Duration = Duration::from_millis(1);

/// `STATUS=` follows the numbers with at most so much delay.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// And what [`Service::changed`] tells with at most so much. It costs no more than one message in
/// this time.
const STATUS_SOON: Duration = Duration::from_millis(100);

/// Serves all `listeners` until the service is not used any more or is told to stop.
///
/// # Errors
///
/// When a listener breaks, or signals cannot be received.
pub async fn serve<S: Service>(
    service: Arc<S>,
    listeners: Arc<[Listener]>,
    lifetime: Lifetime,
) -> Result<ServeOutcome, Failure> {
    let can_return = listeners.iter().all(Listener::is_inherited);
    let exit_idle_time = lifetime.exit_idle_time.filter(|_| can_return);
    let mut serving = Serving {
        idle: IdleTimer::new(exit_idle_time),
        signals: Signals::new()?,
        watchdog: notify::watchdog_interval().map(|every| (every, Uptime::now())),
        status: String::new(),
        status_told: Uptime::now(),
        status_due: Uptime::now(),
        alarm: Alarm::new()?,
        service,
        listeners,
    };
    match serving.run().await? {
        EndReason::Idle => {
            let limit = exit_idle_time.unwrap_or_default();
            notify::stopping("Not used; the next client starts it again.");
            tracing::info!(
                MESSAGE_ID = event::IDLE_EXIT,
                "nobody has used it for {limit:?}: ends now, the next client starts it again"
            );
        }
        EndReason::Told if serving.service.leaves() => {
            serving.leave();
            return Ok(ServeOutcome::Left);
        }
        EndReason::Told => serving.drain(lifetime.drain_timeout, true).await,
        EndReason::Wanted => serving.drain(lifetime.drain_timeout, false).await,
    }
    Ok(ServeOutcome::Over)
}

/// How serving has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeOutcome {
    /// Nobody is served any more.
    Over,
    /// Open connections are to go on in the next process ([`Service::leaves`]).
    Left,
}

/// Why the loop ended.
enum EndReason {
    Idle,
    Told,
    Wanted,
}

/// One thing that happened to the loop.
enum Happening {
    Changed,
    Time,
    Ordered(Order),
}

struct Serving<S: Service> {
    service: Arc<S>,
    listeners: Arc<[Listener]>,
    idle: IdleTimer,
    signals: Signals,
    watchdog: Option<(Duration, Uptime)>,
    status: String,
    status_told: Uptime,
    status_due: Uptime,
    alarm: Alarm,
}

impl<S: Service> Serving<S> {
    async fn run(&mut self) -> Result<EndReason, Failure> {
        self.status = self.service.status(&self.listeners);
        self.status_due = Uptime::now() + STATUS_EVERY;
        notify::ready(&self.status);
        tracing::info!(
            MESSAGE_ID = event::READY,
            "ready on {}",
            list(&self.listeners)
        );
        loop {
            let now = Uptime::now();
            let due = self.housekeep(now);
            if let Some(failure) = self.service.failure() {
                return Err(failure);
            }
            if self.service.wants_to_end() {
                return Ok(EndReason::Wanted);
            }
            self.idle.update(self.service.in_use(), now);
            if self.idle.expired(now) {
                if self.last_look(now) {
                    return Ok(EndReason::Idle);
                }
                // The client that waits is accepted by another task.
                tokio::task::yield_now().await;
            }
            let due = [due, self.idle.deadline()].into_iter().flatten().min();
            match self.next(due).await {
                Happening::Time => {}
                Happening::Changed => {
                    self.status_due = self.status_due.min(self.status_told + STATUS_SOON);
                }
                Happening::Ordered(Order::Reload) => self.reload(),
                Happening::Ordered(Order::Stop) => return Ok(EndReason::Told),
            }
        }
    }

    /// Waits for the next thing to happen, at most until `due`.
    async fn next(&mut self, due: Option<Uptime>) -> Happening {
        tokio::select! {
            biased;
            order = self.signals.next() => Happening::Ordered(order),
            () = self.service.changed() => Happening::Changed,
            () = self.alarm.wait(due) => Happening::Time,
        }
    }

    /// Whether nobody came while the time ran out. From now on nobody is accepted: who comes stays in
    /// the backlog, and is served by the process that systemd starts next.
    fn last_look(&mut self, now: Uptime) -> bool {
        self.service.set_resting(true);
        let waiting = self.listeners.iter().any(Listener::has_waiting);
        if !waiting && !self.service.in_use() && self.service.may_exit() {
            return true;
        }
        self.service.set_resting(false);
        // A client that may pass is accepted in the next turn. One that may not (the gate is
        // closed) keeps the process alive, so that it need not be started again at once.
        let from = match self.service.may_accept() {
            true => now + ACCEPTING_TAKES,
            false => now + self.idle.recheck_after(),
        };
        self.idle.restart(from);
        false
    }

    /// Does what is due while clients are accepted; tells when something will be due next.
    fn housekeep(&mut self, now: Uptime) -> Option<Uptime> {
        [self.look_after(now), self.tell_status(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due at all times, also while the open connections end: the service's own
    /// affairs, and the watchdog.
    fn look_after(&mut self, now: Uptime) -> Option<Uptime> {
        if let Some((every, due)) = &mut self.watchdog
            && *due <= now
        {
            // One that systemd does not take is given again soon.
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

    /// Tells systemd the status if it is time to; tells when it will be.
    fn tell_status(&mut self, now: Uptime) -> Option<Uptime> {
        if self.status_due > now {
            return Some(self.status_due);
        }
        let status = self.service.status(&self.listeners);
        let news = status != self.status;
        if news {
            self.status_told = now;
            // What systemd does not take is news the next time, too.
            if notify::status(&status) {
                self.status = status;
            }
        }
        // The queue of a closed gate grows without waking us; otherwise every change does, so that
        // a service which is left alone sleeps.
        if news || !self.service.may_accept() {
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

    /// Leaves open connections to the next process. systemd is not told: the service goes on unless it is
    /// systemd that stops it.
    fn leave(&self) {
        self.service.stopping();
        let open = self.service.open();
        tracing::info!(
            MESSAGE_ID = event::STOPPING,
            OPEN = open,
            "stopping; {} if the next process is started now",
            clause(open, "open connection", ("goes on", "go on"))
        );
    }

    /// Lets open connections end, and asks systemd for the time that takes. `told`: by a signal, so
    /// that the next one is the second.
    async fn drain(&mut self, timeout: Option<Duration>, mut told: bool) {
        self.service.stopping();
        let open = self.service.open();
        notify::stopping("Stopping.");
        if open > 0 {
            tracing::info!(
                MESSAGE_ID = event::STOPPING,
                OPEN = open,
                "stopping; {} for {}",
                clause(open, "open connection", ("may go on", "may go on")),
                timeout.map_or("as long as they want".to_owned(), |limit| format!(
                    "{limit:?}"
                ))
            );
        }
        let mut drain = Drain::begin(timeout, Uptime::now());
        loop {
            if self.service.has_handed_over() {
                self.listeners = Arc::default();
            }
            let now = Uptime::now();
            let open = self.service.open();
            let due = match drain.step(open, now) {
                Step::Complete => return tracing::info!("stopped"),
                Step::TimedOut => {
                    let cut = clause(open, "connection", ("was", "were"));
                    return tracing::warn!(OPEN = open, "stopped; {cut} cut off");
                }
                Step::Wait { until, extend } => {
                    if let Some(extend) = extend {
                        notify::extend_timeout(extend);
                        notify::status(&stopping_status(open, drain.left(now)));
                    }
                    [self.look_after(now), Some(until)]
                        .into_iter()
                        .flatten()
                        .min()
                }
            };
            tokio::select! {
                order = self.signals.next() => if order == Order::Stop {
                    let open = self.service.open();
                    if std::mem::replace(&mut told, true) {
                        let cut = clause(open, "connection", ("was", "were"));
                        return tracing::warn!(OPEN = open, "told twice to stop: {cut} cut off");
                    }
                },
                () = self.service.changed() => {}
                () = self.alarm.wait(due) => {}
            }
        }
    }
}

fn stopping_status(open: usize, left: Option<Duration>) -> String {
    match left {
        Some(left) => format!("Stopping: {open} open, at most {}s more.", left.as_secs()),
        None => format!("Stopping: {open} open."),
    }
}

fn list(listeners: &[Listener]) -> String {
    let names: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    names.join(", ")
}
