//! `lock`: close the gate and wait until no connection is open.

use super::client::Proxy;
use super::failure::Failure;
use super::options::{LockOptions, usec};
use super::output;
use super::signals::Signals;
use super::view::{View, progress};
use super::wait::{Request, Waiting};
use crate::proxy::control::api::LockParameters;

/// Locks and waits. The lock stays when this program has ended.
///
/// # Errors
///
/// When the proxy cannot be reached, the drain takes too long, somebody opens the gate meanwhile, or
/// a signal comes.
pub async fn run(proxy: &Proxy, options: &LockOptions, as_json: bool) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let mut waiting = Waiting::start(proxy, Request::Lock(parameters(options, false)));
    let mut view = View::new(proxy, as_json);
    let reply = waiting.complete(&mut view, &mut signals).await?;
    match as_json {
        true => output::json(&reply),
        false => output::line(progress(&reply)),
    }
}

/// The parameters of the call; `hold`: the lock is to end with it.
pub fn parameters(options: &LockOptions, hold: bool) -> LockParameters {
    LockParameters {
        reason: options.drain.reason.clone(),
        timeout_usec: usec(options.drain.timeout),
        lease_usec: usec(options.lease),
        at_lease_end: options.at_lease_end,
        force_after_usec: usec(options.drain.force_after),
        hold: hold.then_some(true),
    }
}
