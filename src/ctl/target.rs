//! `set-target`: where new connections go.

use std::sync::Arc;

use super::client::Proxy;
use super::failure::Failure;
use super::output;
use crate::proxy::control::api::TargetParameters;
use crate::proxy::upstream::{Connector, Spare};
use crate::service::address::Address;
use crate::service::timespan::TimeSpan;

/// Sets the target. Whether it is one is for the proxy to say. Then it has the time `wait` to answer:
/// a deployment wants to know before clients do.
///
/// # Errors
///
/// When the proxy cannot be reached or refuses it, or the target does not answer in time; it is set
/// all the same then.
pub async fn run(
    proxy: &Proxy,
    target: &str,
    wait: Option<TimeSpan>,
    as_json: bool,
) -> Result<(), Failure> {
    let parameters = TargetParameters {
        target: target.to_owned(),
    };
    let reply: TargetParameters = proxy.ask("SetTarget", parameters).await?;
    let text = format_args!("new connections go to {}", reply.target);
    output::done(as_json, &reply, text);
    if let Some(wait) = wait {
        let target: Address = reply.target.parse().map_err(|error| Failure::Foreign {
            path: proxy.control.clone(),
            reason: format!("{error}"),
        })?;
        let target = Arc::new(target);
        let connector = Connector::default();
        let reached = connector.connect(|| Arc::clone(&target), wait.finite(), Spare::default());
        reached.await?;
    }
    Ok(())
}
