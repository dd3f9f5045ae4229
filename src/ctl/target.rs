//! `set-target`: where new connections go.

use std::time::Duration;

use super::client::Proxy;
use super::failure::Failure;
use super::options::probe_usec;
use super::output;
use crate::interface::TargetParameters;
use crate::service::timespan::TimeSpan;

/// Sets the target. Whether it is one is for the proxy to say. With `wait` the proxy tries first for so long
/// to reach it: a deployment wants to know before clients do.
///
/// # Errors
///
/// When the proxy cannot be reached or refuses the target, or the target does not answer in time; then nothing
/// has changed.
pub async fn run(
    proxy: &Proxy,
    target: &str,
    wait: Option<TimeSpan>,
    as_json: bool,
) -> Result<(), Failure> {
    let parameters = parameters(target, wait);
    let work = Duration::from_micros(parameters.probe_usec.unwrap_or(0));
    let reply: TargetParameters = proxy.ask_for(work, "SetTarget", parameters).await?;
    let text = format_args!("new connections go to {}", reply.target);
    output::done(as_json, &reply, text);
    Ok(())
}

/// The parameters of the call.
pub fn parameters(target: &str, wait: Option<TimeSpan>) -> TargetParameters {
    TargetParameters {
        target: target.to_owned(),
        probe_usec: wait.map(probe_usec),
    }
}
