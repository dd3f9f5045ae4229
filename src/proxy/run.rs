//! The program, from its command line to its end, and a proxy as a service.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::admission::{Gate, GateProgress};
use super::assembly::Continuation;
use super::keep;
use super::options::ProxyOptions;
use super::start::keeping;
use super::start::preparation::Preparation;
use super::start::startup::AssembledProxy;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::clock::Uptime;
use crate::service::execution;
use crate::service::exhausted::is_of_descriptors;
use crate::service::listener::Listener;
use crate::service::log;
use crate::service::program::{self, Failure};
use crate::service::serve::{Lifetime, ServeOutcome, Service, serve};
use crate::service::signals;
use crate::service::variables::UnknownVariable;

const NAME: &str = "disnix-tcp-proxy";

/// The exit status of a process that has left open connections to the next one: `EX_TEMPFAIL` of sysexits.h.
/// The units have systemd start that one (`RestartForceExitStatus=`), unless systemd stops the service.
const LEFT: u8 = 75;

/// The program `disnix-tcp-proxy`.
pub fn main() -> ExitCode {
    let inherited = activation::inherited();
    program::keep_memory_private();
    signals::fail_beyond_the_size_limit();
    match ProxyOptions::read(continues(&inherited)) {
        Ok(options) if options.check => say_that_all_is_well(),
        Ok(options) => {
            let level = options.log_level;
            program::run(NAME, level, async move {
                options.ignored.iter().for_each(log_ignored);
                run(options, inherited).await
            })
        }
        Err(error) => {
            if let Ok(inherited) = inherited {
                log::start(NAME, log::Level::default());
                keeping::give_up(keep::separate(inherited).0);
            }
            program::refuse(&error)
        }
    }
}

/// Whether this process continues what another one of the unit has begun. A variable that that one did not refuse, as an
/// earlier version perhaps, must not cost the connections that it has left.
fn continues(inherited: &Result<Vec<Inherited>, ActivationError>) -> bool {
    let inherited = inherited.iter().flatten();
    keep::heir_of().is_some()
        || inherited
            .map(|socket| &socket.name)
            .any(|name| name == keep::NAME)
}

fn log_ignored(variable: &UnknownVariable) {
    tracing::error!("{variable}; only a restart with kept connections is not refused for it");
}

/// The answer of `--check`.
fn say_that_all_is_well() -> ExitCode {
    match writeln!(io::stdout(), "{NAME}: all options and variables make sense") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Starts a proxy and serves until its end.
async fn run(
    options: ProxyOptions,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<ExitCode, Failure> {
    // An heir is restricted already: the last will, which was that process, is.
    if keep::heir_of().is_none() {
        execution::restrict();
    }
    let (stored, sockets) = keep::separate(inherited?);
    let preparation = match Preparation::new(&options, sockets).await {
        Ok(preparation) => preparation,
        Err(failure) => {
            // A process that may have more descriptors continues with what is kept.
            if !is_of_descriptors(failure.as_ref()) {
                keeping::give_up(stored);
            }
            return Err(failure);
        }
    };
    let (assembled, listeners) = AssembledProxy::start(preparation, &options, stored)?;
    assembled.proxy.show_ignored(&options.ignored);
    let service = Arc::new(assembled);
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
    };
    // Without a copy of the listeners, so that they are closed once another process has them.
    let outcome = serve(Arc::clone(&service), listeners, lifetime).await;
    let continuation = match outcome {
        Ok(ServeOutcome::Over) => Continuation::None,
        Ok(ServeOutcome::Left) => Continuation::Heir,
        // As a process that is killed does; but systemd decides about one that cannot continue.
        Err(_) => Continuation::NextProcess,
    };
    let has_left = service.proxy.end(continuation);
    outcome.map(|_| match has_left {
        true => LEFT.into(),
        false => ExitCode::SUCCESS,
    })
}

impl Service for AssembledProxy {
    fn may_accept(&self) -> bool {
        self.proxy.admission.may_accept()
    }

    fn set_resting(&self, resting: bool) {
        self.proxy
            .admission
            .with_gate_silently(|gate| gate.set_resting(resting));
    }

    fn is_alive(&self) -> bool {
        self.proxy.workers.is_turning()
    }

    fn failure(&self) -> Option<Failure> {
        self.proxy.admission.failure()
    }

    fn open(&self) -> usize {
        let admission = &self.proxy.admission;
        let (open, stopping) = admission.read_gate(|gate| {
            let open = match gate.is_retired() {
                // Its detached clients get their upstreams from no other process.
                true => gate.connected(),
                // Otherwise they wait for nothing that comes before the end of the process.
                false => gate.open_connections(),
            };
            (open, gate.is_stopping())
        });
        match stopping {
            // The lasting ones continue without this process.
            true => open.saturating_sub(self.proxy.route.handover.lasting_connections()),
            false => open,
        }
    }

    fn connected(&self) -> usize {
        self.proxy.admission.read_gate(Gate::connected)
    }

    fn in_use(&self) -> bool {
        self.connected() > 0 || self.callers.count() > 0
    }

    fn may_exit(&self) -> bool {
        let control = self.callers.backlog.listeners();
        !self.proxy.health.is_asked() && !control.iter().any(Listener::has_waiting)
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.proxy.admission.wakers.life_cycle() => {}
            () = self.callers.all_gone() => {}
            () = self.proxy.last_will.ends() => {}
        }
    }

    fn tick(&self, now: Uptime) -> Option<Uptime> {
        self.proxy.tick(now)
    }

    fn status(&self, _: &[Listener]) -> String {
        let admission = &self.proxy.admission;
        admission.wakers.count_seen();
        let GateProgress {
            state,
            open,
            detached,
        } = admission.progress();
        let gate = state.as_str();
        let detached = match detached {
            0 => String::new(),
            _ => format!(" {detached} detached,"),
        };
        let queued = admission.backlog.waiting();
        match self.proxy.route.target() {
            Some(target) => {
                let trouble = self.proxy.trouble().map(|trouble| format!(" {trouble}"));
                format!(
                    "Gate {gate}: {open} open,{detached} {queued} queued; leads to {target}.{}",
                    trouble.unwrap_or_default()
                )
            }
            None => format!(
                "Gate {gate}: {queued} queued until disnix-tcp-proxyctl set-target says where to."
            ),
        }
    }

    fn reload(&self) -> Option<Result<(), Failure>> {
        Some(self.proxy.route.reload_target().map_err(Failure::from))
    }

    fn leaves(&self) -> bool {
        self.proxy.admission.keep.is_some()
    }

    fn wants_to_end(&self) -> bool {
        self.proxy.admission.read_gate(Gate::is_stopping)
    }

    fn is_retired(&self) -> bool {
        self.proxy.admission.read_gate(Gate::is_retired)
    }

    fn stopping(&self) {
        self.proxy.admission.with_gate_silently(Gate::stopping);
        self.proxy.route.handover.stop();
    }
}
