//! `Lock` and `Switch`: calls that take part in a lock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::refused::{Refused, not_saved, parameters, refuse};
use super::stream::{changed, gate_reply, pause};
use super::target;
use crate::interface::{GateReply, GateState, LeaseEnd, LockParameters, SwitchParameters};
use crate::proxy::assembly::Proxy;
use crate::proxy::control::callers::send;
use crate::proxy::gate::{CallerId, LockRequest, Mode, Opened, Outcome};
use crate::service::clock;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// A caller's part in a lock; it ends when this is dropped, for whatever reason.
struct Part {
    proxy: Arc<Proxy>,
    caller: CallerId,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.proxy.admission.caller_gone(self.caller);
    }
}

fn begin_lock(proxy: &Arc<Proxy>, request: LockRequest) -> Result<Part, Refused> {
    let caller = proxy.admission.new_caller();
    match proxy.admission.lock(caller, request) {
        Ok(()) => Ok(Part {
            proxy: Arc::clone(proxy),
            caller,
        }),
        Err(error) => not_saved(&error.to_string()),
    }
}

/// Whether times are given that say how long the caller waits.
fn has_patience(asked: &LockParameters) -> bool {
    let times = [
        asked.timeout_usec,
        asked.progress_timeout_usec,
        asked.force_after_usec,
    ];
    times.iter().any(Option::is_some)
}

/// Answers `Lock`.
pub(super) async fn lock(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Arc<Proxy>,
) -> Result<Option<Reply>, Refused> {
    let asked: LockParameters = parameters(call)?;
    let hold = asked.hold.unwrap_or(false);
    let mode = match (call.more, hold) {
        (true, true) => Mode::Hold,
        (true, false) => Mode::Wait,
        (false, true) => return Err(Refused::Reply(Reply::expected_more())),
        // Without a caller that waits nobody's patience can end.
        (false, false) if has_patience(&asked) => {
            return Err(Refused::Reply(Reply::expected_more()));
        }
        (false, false) => Mode::AtOnce,
    };
    if asked.at_lease_end == Some(LeaseEnd::Exit) && asked.lease_usec.is_none() {
        // It would never come to that.
        return Err(Refused::Reply(Reply::invalid_parameter("atLeaseEnd")));
    }
    let request = LockRequest {
        mode,
        reason: asked.reason.filter(|reason| !reason.trim().is_empty()),
        realtime_usec: clock::realtime_micros(),
        timeout: asked.timeout_usec.map(Duration::from_micros),
        progress_timeout: asked.progress_timeout_usec.map(Duration::from_micros),
        lease: asked.lease_usec.map(Duration::from_micros),
        at_lease_end: asked.at_lease_end,
        force_after: asked.force_after_usec.map(Duration::from_micros),
    };
    let part = begin_lock(proxy, request)?;
    if mode == Mode::AtOnce {
        return Ok(Some(Reply::last(gate_reply(proxy))));
    }
    match wait(&part, connection, false).await? {
        Waited::Over(reply) | Waited::Drained(reply) => Ok(Some(reply)),
    }
}

/// Answers `Switch`.
pub(super) async fn switch(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Arc<Proxy>,
) -> Result<Option<Reply>, Refused> {
    let asked: SwitchParameters = parameters(call)?;
    if !call.more {
        return Err(Refused::Reply(Reply::expected_more()));
    }
    let address = target::check(proxy, &asked.target).await?;
    if let (true, Some(fixed)) = (proxy.route.settings.target_fixed, proxy.route.target()) {
        return refuse("TargetFixed", json!({ "target": fixed.to_string() }));
    }
    target::probe(proxy, &address, asked.probe_usec, connection).await?;
    let request = LockRequest {
        mode: Mode::Hold,
        reason: asked.reason.filter(|reason| !reason.trim().is_empty()),
        realtime_usec: clock::realtime_micros(),
        timeout: asked.timeout_usec.map(Duration::from_micros),
        progress_timeout: asked.progress_timeout_usec.map(Duration::from_micros),
        lease: None,
        at_lease_end: None,
        force_after: asked.force_after_usec.map(Duration::from_micros),
    };
    let part = begin_lock(proxy, request)?;
    match wait(&part, connection, true).await? {
        Waited::Over(reply) => Ok(Some(reply)),
        Waited::Drained(_) => {
            // It may have gone meanwhile: then the gate opens, and everything is as before.
            target::probe(proxy, &address, asked.probe_usec, connection).await?;
            target::apply(proxy, &address)?;
            // The gate opens, unless others keep it closed.
            drop(part);
            Ok(Some(Reply::last(gate_reply(proxy))))
        }
    }
}

/// How a wait ended.
enum Waited {
    /// With this reply.
    Over(Reply),
    /// Nobody is connected any more; this would be the reply.
    Drained(Reply),
}

/// Tells the caller how the drain goes, until it is over. A holder hears on after the drain, unless
/// `return_when_drained`.
async fn wait(
    part: &Part,
    connection: &mut VarlinkConnection,
    return_when_drained: bool,
) -> Result<Waited, Refused> {
    let proxy = &part.proxy;
    let mut changes = proxy.admission.wakers.subscribe();
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let now = gate_reply(proxy);
        if let Some(outcome) = proxy.admission.outcome(part.caller) {
            return ended(&outcome, now);
        }
        if return_when_drained && now.gate == GateState::Locked {
            return Ok(Waited::Drained(Reply::last(now)));
        }
        if told != Some(now) {
            send(connection, &Reply::continued(now)).await?;
            told = Some(now);
            pause(connection).await?;
        }
        changed(&mut changes, connection).await?;
    }
}

fn ended(outcome: &Outcome, now: GateReply) -> Result<Waited, Refused> {
    match outcome {
        Outcome::Drained => Ok(Waited::Over(Reply::last(now))),
        Outcome::TimedOut { open } => refuse("DrainTimedOut", json!({ "open": open })),
        Outcome::Stalled { open } => refuse("DrainStalled", json!({ "open": open })),
        Outcome::Unlocked(Opened::Lease) => refuse("Unlocked", json!({ "reason": "lease" })),
        Outcome::Ended => refuse("Unlocked", json!({ "reason": "exit" })),
        Outcome::Unlocked(_) => refuse("Unlocked", json!({ "reason": "unlock" })),
        Outcome::NotSaved(reason) => not_saved(reason),
    }
}
