//! `set-target`: lead new connections elsewhere.

use std::time::Duration;

use super::call::client::{ANSWER_TIME, NamedProxy};
use super::failure::CtlFailure;
use super::options::probe_usec;
use super::terminal::output;
use crate::interface::TargetParameters;
use crate::service::timespan::TimeSpan;

/// Sets the target. The proxy checks it, and with `wait` tries first for that time to reach it.
pub async fn run(
    proxy: &NamedProxy,
    target: &str,
    wait: Option<TimeSpan>,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let reply = set(proxy, parameters(target, wait)).await?;
    let text = format!("new connections go to {}", reply.target);
    output::done(as_json, &reply, text);
    Ok(())
}

/// Makes the call, whose target is tried first if it says so.
pub async fn set(
    proxy: &NamedProxy,
    parameters: TargetParameters,
) -> Result<TargetParameters, CtlFailure> {
    let probe = Duration::from_micros(parameters.probe_usec.unwrap_or(0));
    let limit = probe.saturating_add(ANSWER_TIME);
    proxy.ask(limit, "SetTarget", parameters).await
}

pub fn parameters(target: &str, wait: Option<TimeSpan>) -> TargetParameters {
    TargetParameters {
        target: target.to_owned(),
        probe_usec: wait.map(probe_usec),
        try_only: None,
    }
}
