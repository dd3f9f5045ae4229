//! `lock`: close the gate and wait until no connection is open.

use super::client::Proxy;
use super::failure::Failure;
use super::options::{LockOptions, usec};
use super::output;
use super::signals::Signals;
use super::view::{View, progress};
use super::wait::{Request, Waiting};
use crate::interface::{GateReply, LockParameters};

/// Locks and waits. The lock stays when this program has ended. With `--if-running` it is a success
/// when there is no proxy at all: a deployment may be what brings it back.
///
/// # Errors
///
/// When the proxy cannot be reached, the drain takes too long, somebody opens the gate meanwhile, or
/// a signal comes.
pub async fn run(
    proxy: Result<Proxy, Failure>,
    options: &LockOptions,
    as_json: bool,
) -> Result<(), Failure> {
    let reply = match lock(proxy, options, as_json).await {
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

async fn lock(
    proxy: Result<Proxy, Failure>,
    options: &LockOptions,
    as_json: bool,
) -> Result<GateReply, Failure> {
    let proxy = proxy?;
    let mut signals = Signals::catch()?;
    let mut waiting = Waiting::start(&proxy, Request::Lock(parameters(options, false)));
    let mut view = View::new(&proxy, as_json);
    waiting.complete(&mut view, &mut signals).await
}

/// The parameters of the call; `hold`: the lock is to end with it.
pub fn parameters(options: &LockOptions, hold: bool) -> LockParameters {
    LockParameters {
        reason: options.drain.reason.clone(),
        timeout_usec: usec(options.drain.timeout),
        progress_timeout_usec: usec(options.drain.progress_timeout),
        lease_usec: usec(options.lease),
        at_lease_end: options.at_lease_end,
        force_after_usec: usec(options.drain.force_after),
        hold: hold.then_some(true),
    }
}
