//! `Lock` and `Switch`: calls that take part in a lock.

use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::json;

use super::call_error::{CallError, CallResult, not_saved, parameters, refuse};
use super::exchange::{Exchange, gate_reply, reply_of};
use super::target;
use crate::interface::{GateReply, GateState, LeaseEnd, LockParameters, SwitchParameters};
use crate::proxy::admission::{Admission, CallerId, LockRequest, Mode, OpenReason, Outcome};
use crate::service::clock;
use crate::service::varlink::Reply;

/// The part of a caller in a lock; it ends when this is dropped.
struct Part<'a> {
    admission: &'a Admission,
    caller: CallerId,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.admission.caller_gone(self.caller);
    }
}

impl<'a> Part<'a> {
    fn begin(
        admission: &'a Admission,
        asked: LockParameters,
        mode: Mode,
    ) -> Result<Self, CallError> {
        let request = LockRequest {
            mode,
            reason: asked.reason.filter(|reason| !reason.trim().is_empty()),
            realtime_usec: clock::realtime_micros(),
            timeout: asked.timeout_usec.map(Duration::from_micros),
            progress_timeout: asked.progress_timeout_usec.map(Duration::from_micros),
            lease: asked.lease_usec.map(Duration::from_micros),
            at_lease_end: asked.at_lease_end,
            force_after: asked.force_after_usec.map(Duration::from_micros),
            close_idle: asked.close_idle_usec.map(Duration::from_micros),
        };
        match admission.lock(request) {
            Ok(caller) => Ok(Self { admission, caller }),
            Err(error) => not_saved(&error.to_string()),
        }
    }

    /// Reports the drain to the caller until its wait ends, or until no connection is open if
    /// `until_drained`.
    async fn wait(&self, exchange: &mut Exchange<'_>, until_drained: bool) -> CallResult {
        let look = || {
            let (progress, outcome) = self.admission.drain_progress(self.caller);
            let now = reply_of(self.admission, progress);
            match outcome {
                Some(outcome) => ControlFlow::Break(reply(&outcome, now)),
                None if until_drained && now.gate == GateState::Locked => {
                    ControlFlow::Break(Ok(Reply::last(now)))
                }
                None => ControlFlow::Continue(now),
            }
        };
        exchange.stream(look).await?
    }
}

fn reply(outcome: &Outcome, now: GateReply) -> CallResult {
    match outcome {
        Outcome::Drained => Ok(Reply::last(now)),
        Outcome::TimedOut { open } => refuse("DrainTimedOut", json!({ "open": open })),
        Outcome::Stalled { open } => refuse("DrainStalled", json!({ "open": open })),
        Outcome::Unlocked(OpenReason::Lease) => refuse("Unlocked", json!({ "reason": "lease" })),
        Outcome::Ended => refuse("Unlocked", json!({ "reason": "exit" })),
        Outcome::Unlocked(_) => refuse("Unlocked", json!({ "reason": "unlock" })),
        Outcome::NotSaved(reason) => not_saved(reason),
    }
}

pub(super) async fn lock(exchange: &mut Exchange<'_>) -> CallResult {
    let asked: LockParameters = parameters(exchange.call)?;
    let limits = [
        asked.timeout_usec,
        asked.progress_timeout_usec,
        asked.force_after_usec,
        asked.close_idle_usec,
    ];
    let mode = match asked.hold {
        Some(true) => Mode::Hold,
        _ if exchange.call.more => Mode::Wait,
        _ => Mode::AtOnce,
    };
    if mode == Mode::Hold || limits.iter().any(Option::is_some) {
        // Without a wait there is nothing to hold or to limit.
        exchange.expect_more()?;
    }
    if asked.at_lease_end == Some(LeaseEnd::Exit) && asked.lease_usec.is_none() {
        return Err(CallError::Reply(Reply::invalid_parameter("atLeaseEnd")));
    }
    let proxy = exchange.proxy;
    let admission = &proxy.admission;
    let part = Part::begin(admission, asked, mode)?;
    match mode {
        Mode::AtOnce => Ok(Reply::last(gate_reply(admission))),
        Mode::Wait | Mode::Hold => part.wait(exchange, false).await,
    }
}

pub(super) async fn switch(exchange: &mut Exchange<'_>) -> CallResult {
    let SwitchParameters {
        target,
        probe_usec,
        reason,
        timeout_usec,
        progress_timeout_usec,
        force_after_usec,
        close_idle_usec,
    } = parameters(exchange.call)?;
    exchange.expect_more()?;
    let proxy = exchange.proxy;
    let target = target::check(proxy, &target).await?;
    target::check_not_fixed(proxy)?;
    target::probe(exchange, &target, probe_usec).await?;
    let asked = LockParameters {
        reason,
        timeout_usec,
        progress_timeout_usec,
        force_after_usec,
        close_idle_usec,
        ..LockParameters::default()
    };
    let part = Part::begin(&proxy.admission, asked, Mode::Hold)?;
    part.wait(exchange, true).await?;
    // If the target does not answer any more, the gate opens and nothing has changed.
    target::probe(exchange, &target, probe_usec).await?;
    target::apply(proxy, &target)?;
    // The gate opens, unless others keep it closed.
    drop(part);
    Ok(Reply::last(gate_reply(&proxy.admission)))
}
