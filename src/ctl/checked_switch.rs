//! `switch --check COMMAND`: lock, have COMMAND check the target, set it, unlock.
//!
//! The target is set after the check. So one that fails has nothing to take back; nor has one that is interrupted, or
//! whose caller is killed: the lock lasts as long as the call, and the gate opens to the target that was there before.

use std::ffi::OsStr;
use std::io;

use super::call::client::NamedProxy;
use super::call::patience::LOST;
use super::call::wait::{CallEvent, DrainCall, PendingCall, catch_signals};
use super::drain_view::view::{View, progress};
use super::failure::CtlFailure;
use super::hold;
use super::options::{SwitchOptions, usec};
use super::shell::{GRACE, ShellCommand};
use super::target;
use crate::interface::{GateReply, LockParameters, TargetParameters};
use crate::service::program::note;
use crate::service::signals::Signals;
use crate::service::timespan::TimeSpan;

/// Returns the state of the gate at the end.
pub async fn run(
    proxy: &NamedProxy,
    options: &SwitchOptions,
    command: &OsStr,
    silent: bool,
) -> Result<GateReply, CtlFailure> {
    let mut signals = catch_signals()?;
    let wanted = wanted(options);
    let tried = TargetParameters {
        try_only: Some(true),
        ..wanted.clone()
    };
    // It may take as long as --wait says.
    let target = tokio::select! {
        biased;
        _ = signals.next() => return Err(CtlFailure::Interrupted),
        tried = target::set(proxy, tried) => tried?.target,
    };
    let lock = lock(options);
    let mut call = PendingCall::start(proxy, DrainCall::Lock(lock.clone()));
    let mut view = View::new(proxy, silent);
    let drained = call.complete(None, &mut view, &mut signals).await?;
    drop(view);
    if !silent {
        let gate = progress(&drained);
        note(format_args!("{gate}; checking {target}"));
    }
    let mut check = Check {
        call: &mut call,
        signals: &mut signals,
        is_drained: true,
    };
    let started = ShellCommand::about(command, proxy, &target);
    let changed = match check.run(started, options.check_timeout, &target).await {
        // The proxy gives up trying the target if this hangs up.
        Ok(()) => check.under_lock(target::set(proxy, wanted)).await,
        Err(failure) => Err(failure),
    };
    let status = hold::release(proxy, &lock, call).await;
    changed??;
    let status = status?;
    Ok(GateReply {
        gate: status.gate,
        open: status.open,
        queued: status.queued,
        closed_idle: drained.closed_idle,
        detached: status.detached,
    })
}

/// The target, which is tried for a while if it is to be.
fn wanted(options: &SwitchOptions) -> TargetParameters {
    let wait = (!options.untested).then_some(options.wait);
    target::parameters(&options.target, wait)
}

/// A lock that ends with the call.
fn lock(options: &SwitchOptions) -> LockParameters {
    let drain = &options.drain;
    LockParameters {
        reason: drain.reason.clone(),
        timeout_usec: drain.timeout_usec(),
        progress_timeout_usec: usec(drain.progress_timeout),
        force_after_usec: usec(drain.force_after),
        close_idle_usec: usec(drain.close_idle),
        hold: Some(true),
        ..LockParameters::default()
    }
}

/// A check that is under way, and the lock that is held for it.
struct Check<'a> {
    call: &'a mut PendingCall,
    signals: &'a mut Signals,
    is_drained: bool,
}

impl Check<'_> {
    /// Waits for the command, and fails if it fails or takes longer than `limit`, the lock ends or a signal comes.
    /// Afterwards no connection is open.
    async fn run(
        &mut self,
        command: io::Result<ShellCommand>,
        limit: TimeSpan,
        target: &str,
    ) -> Result<(), CtlFailure> {
        let running = async {
            let mut command = command?;
            command.ends_within(limit.finite(), GRACE).await
        };
        let why = match self.under_lock(running).await? {
            Ok(Some(status)) if status.success() => None,
            Ok(Some(status)) => Some(status.to_string()),
            Ok(None) => Some(format!(
                "ended because it had taken {limit}, the limit of --check-timeout"
            )),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            let target = target.to_owned();
            return Err(CtlFailure::CheckFailed { target, why });
        }
        // Clients may have come in while the lock was lost.
        while !self.is_drained {
            self.follow().await?;
        }
        Ok(())
    }

    /// Waits for the end of `work`. Fails, and drops it, if the lock ends or a signal comes before.
    async fn under_lock<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CtlFailure> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                // Ctrl-C ends both this call and the command, and is no failure of the check.
                followed = self.follow() => followed?,
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Waits for the next event of the lock. Cancel safe.
    async fn follow(&mut self) -> Result<(), CtlFailure> {
        let event = tokio::select! {
            event = self.call.next() => event?,
            _ = self.signals.next() => return Err(CtlFailure::Interrupted),
        };
        match event {
            CallEvent::Reply { complete, .. } => self.is_drained = complete,
            CallEvent::Lost => {
                self.is_drained = false;
                note(LOST);
            }
            CallEvent::Back => note("the proxy is there again; the lock is held again"),
        }
        Ok(())
    }
}
