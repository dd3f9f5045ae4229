//! `lock`: close the gate and wait until no connection is open.

use super::call::client::NamedProxy;
use super::call::wait::{self, DrainCall};
use super::drain_view::view::progress;
use super::failure::CtlFailure;
use super::options::{LockOptions, usec};
use super::terminal::output;
use crate::interface::LockParameters;

/// Locks and waits. The lock outlasts this program. With `--if-running` the absence of a proxy is a success.
pub async fn run(
    proxy: Result<NamedProxy, CtlFailure>,
    options: &LockOptions,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let call = DrainCall::Lock(parameters(options, false));
    let reply =
        async { wait::complete(&proxy?, call, options.when_closed.as_deref(), as_json).await };
    let reply = match reply.await {
        Err(failure) if options.if_running && failure.is_absence() => None,
        reply => Some(reply?),
    };
    let text = match &reply {
        Some(reply) => progress(reply),
        None => "not running, nothing to lock".to_owned(),
    };
    output::done(as_json, &reply, text); // null when nothing runs
    Ok(())
}

/// The parameters of the call; `hold`: the lock ends with the connection.
pub fn parameters(options: &LockOptions, hold: bool) -> LockParameters {
    LockParameters {
        reason: options.drain.reason.clone(),
        timeout_usec: options.drain.timeout_usec(),
        progress_timeout_usec: usec(options.drain.progress_timeout),
        lease_usec: usec(options.lease),
        at_lease_end: options.at_lease_end,
        force_after_usec: usec(options.drain.force_after),
        close_idle_usec: usec(options.drain.close_idle),
        hold: hold.then_some(true),
    }
}
