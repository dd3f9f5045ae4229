//! `switch`: lock, set the target and unlock, as one.

use super::call::client::NamedProxy;
use super::call::wait::{self, DrainCall};
use super::checked_switch;
use super::drain_view::view::progress;
use super::failure::CtlFailure;
use super::options::{SwitchOptions, probe_usec, usec};
use super::terminal::output;
use crate::interface::SwitchParameters;

pub async fn run(
    proxy: &NamedProxy,
    options: &SwitchOptions,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let reply = match &options.check {
        Some(command) => checked_switch::run(proxy, options, command, as_json).await?,
        None => {
            let call = DrainCall::Switch(parameters(options));
            wait::complete(proxy, call, None, as_json).await?
        }
    };
    let text = format!(
        "new connections go to {}; {}",
        options.target,
        progress(&reply)
    );
    output::done(as_json, &reply, text);
    Ok(())
}

pub fn parameters(options: &SwitchOptions) -> SwitchParameters {
    SwitchParameters {
        target: options.target.clone(),
        probe_usec: (!options.untested).then(|| probe_usec(options.wait)),
        reason: options.drain.reason.clone(),
        timeout_usec: options.drain.timeout_usec(),
        progress_timeout_usec: usec(options.drain.progress_timeout),
        force_after_usec: usec(options.drain.force_after),
        close_idle_usec: usec(options.drain.close_idle),
    }
}
