//! The target that a process begins with.

use super::route::{RouteSettings, SetTargetError};
use crate::proxy::event;
use crate::service::address::Address;
use crate::service::leads_to;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};

/// The target that a process begins with. One that was saved and leads back to the proxy is left out, so that
/// another one can be set.
///
/// # Errors
///
/// When the proxy cannot lead to the one that it was started with, or not as it was started.
pub(in crate::proxy) async fn first_target(
    target: Option<Address>,
    settings: &RouteSettings,
    listeners: &[Listener],
    control: &[Listener],
) -> Result<Option<Address>, Failure> {
    let Some(target) = target else {
        return Ok(None);
    };
    let why = match settings.contradiction(&target) {
        Some(why) if !settings.target_fixed => return Err(why.into()),
        Some(why) => why.to_owned(),
        None => match leads_back(&target, [listeners, control]).await {
            None => return Ok(Some(target)),
            Some(listener) => {
                let why = SetTargetError::LeadsBack(listener.to_string());
                format!("the target {target} makes no sense: {why}")
            }
        },
    };
    if settings.target_fixed {
        return Err(program::wrong_usage(&why));
    }
    tracing::error!(
        MESSAGE_ID = event::LEADS_BACK, UPSTREAM = %target,
        "{why}; clients wait until another one is set"
    );
    Ok(None)
}

/// The listener of ours that the target leads to.
async fn leads_back<'a>(target: &Address, ours: [&'a [Listener]; 2]) -> Option<&'a Listener> {
    for listeners in ours {
        if let Some(listener) = leads_to::listener_at_name(target, listeners).await {
            return Some(listener);
        }
    }
    None
}
