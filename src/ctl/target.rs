//! `set-target`: where new connections go.

use super::client::Proxy;
use super::failure::Failure;
use super::output;
use crate::proxy::control::api::TargetParameters;

/// Sets the target. Whether it is one is for the proxy to say.
///
/// # Errors
///
/// When the proxy cannot be reached or refuses it.
pub async fn run(proxy: &Proxy, target: &str, as_json: bool) -> Result<(), Failure> {
    let parameters = TargetParameters {
        target: target.to_owned(),
    };
    let reply: TargetParameters = proxy.ask("SetTarget", parameters).await?;
    match as_json {
        true => output::json(&reply),
        false => output::line(format!("new connections go to {}", reply.target)),
    }
}
