//! `switch`: lock, set the target and unlock, as one.

use super::client::Proxy;
use super::failure::Failure;
use super::options::{SwitchOptions, probe_usec, usec};
use super::output;
use super::signals::Signals;
use super::view::{View, progress};
use super::wait::{Request, Waiting};
use crate::interface::SwitchParameters;

/// Switches and waits until it is done.
///
/// # Errors
///
/// As for `lock`, and when the target is none or cannot be changed.
pub async fn run(proxy: &Proxy, options: &SwitchOptions, as_json: bool) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let mut waiting = Waiting::start(proxy, Request::Switch(parameters(options)));
    let mut view = View::new(proxy, as_json);
    let reply = waiting.complete(&mut view, &mut signals).await?;
    let text = format_args!(
        "new connections go to {}; {}",
        options.target,
        progress(&reply)
    );
    output::done(as_json, &reply, text);
    Ok(())
}

/// The parameters of the call.
pub fn parameters(options: &SwitchOptions) -> SwitchParameters {
    SwitchParameters {
        target: options.target.clone(),
        probe_usec: (!options.untested).then(|| probe_usec(options.wait)),
        reason: options.drain.reason.clone(),
        timeout_usec: usec(options.drain.timeout),
        progress_timeout_usec: usec(options.drain.progress_timeout),
        force_after_usec: usec(options.drain.force_after),
    }
}
