//! The first target of a process.

use std::io;

use crate::proxy::event;
use crate::proxy::route::{RouteSettings, SetTargetError};
use crate::service::address::Address;
use crate::service::exhausted::is_of_descriptors;
use crate::service::leads_to;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};

/// Checks the first target. A saved one that cannot be used is left out so that another one can be set, if
/// clients `may_wait` for that.
/// Fails if the proxy cannot lead to the target of its command line, or not with its other options.
pub async fn first_target(
    target: io::Result<Option<Address>>,
    settings: &RouteSettings,
    own: [&[Listener]; 2],
    may_wait: bool,
) -> Result<Option<Address>, Failure> {
    let target = match target {
        Ok(Some(target)) => target,
        Ok(None) => return Ok(None),
        Err(error) => return left_out(error.into(), may_wait),
    };
    let why = match settings.contradiction(&target) {
        Some(why) if !settings.target_fixed => {
            return left_out(
                format!("the saved target is {target}: {why}").into(),
                may_wait,
            );
        }
        Some(why) => why.to_owned(),
        None => match leads_to::listener_at_name(&target, &own).await {
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

/// Leaves out a saved target that cannot be used, for this reason.
fn left_out(why: Failure, may_wait: bool) -> Result<Option<Address>, Failure> {
    // Without descriptors the target could not be checked.
    if !may_wait || is_of_descriptors(why.as_ref()) {
        return Err(why);
    }
    tracing::error!(ERROR = %why, "{why}; clients wait until another target is set");
    Ok(None)
}
