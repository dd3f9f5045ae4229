//! `SetTarget`, and what `Switch` has in common with it: a target is tried before it is used.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::refused::{Refused, gone, not_saved, parameters, refuse};
use crate::interface::TargetParameters;
use crate::proxy::assembly::Proxy;
use crate::proxy::route::SetTargetError;
use crate::proxy::upstream::Spare;
use crate::service::address::Address;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The longest time for which a target is tried: as good as for ever.
const PROBE_MAX: Duration = Duration::from_secs(3_000_000_000);

pub(super) async fn set(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Proxy,
) -> Result<Option<Reply>, Refused> {
    let TargetParameters { target, probe_usec } = parameters(call)?;
    let address = check(proxy, &target).await?;
    if let Some(reason) = try_out(proxy, &address, probe_usec, connection).await? {
        // Clients would wait for ever without a target. Where there was none, nothing is better than this one.
        let is_set = proxy.route.target().is_none();
        if is_set {
            apply(proxy, &address)?;
        }
        return silent(&address, &reason, is_set);
    }
    apply(proxy, &address)?;
    Ok(Some(Reply::last(TargetParameters {
        target,
        probe_usec: None,
    })))
}

/// The address, if the proxy may lead there, as far as can be told without trying.
pub(super) async fn check(proxy: &Proxy, target: &str) -> Result<Address, Refused> {
    let address = match target.parse::<Address>() {
        Ok(address) => address,
        Err(error) => return invalid(target, &error.to_string()),
    };
    match proxy.route.check_target_name(&address).await {
        Ok(()) => Ok(address),
        Err(error) => not_set(&address, error),
    }
}

/// Refuses a target that cannot be reached from here, within this time. Nothing is tried without one.
pub(super) async fn probe(
    proxy: &Proxy,
    target: &Address,
    usec: Option<u64>,
    connection: &mut VarlinkConnection,
) -> Result<(), Refused> {
    match try_out(proxy, target, usec, connection).await? {
        None => Ok(()),
        Some(reason) => silent(target, &reason, false),
    }
}

fn silent<T>(target: &Address, reason: &str, is_set: bool) -> Result<T, Refused> {
    let mut parameters = json!({ "target": target.to_string(), "reason": reason });
    if is_set {
        parameters["set"] = true.into();
    }
    refuse("TargetSilent", parameters)
}

/// Why the target cannot be reached from here, within this time, if it cannot.
async fn try_out(
    proxy: &Proxy,
    target: &Address,
    usec: Option<u64>,
    connection: &mut VarlinkConnection,
) -> Result<Option<String>, Refused> {
    let Some(usec) = usec else {
        return Ok(None);
    };
    let limit = Duration::from_micros(usec).min(PROBE_MAX);
    let target = Arc::new(target.clone());
    let connecting =
        proxy
            .route
            .connector
            .connect(|| Arc::clone(&target), Some(limit), Spare::default());
    tokio::select! {
        biased;
        connected = connecting => Ok(connected.err().map(|error| error.to_string())),
        () = connection.hung_up() => Err(gone()),
    }
}

pub(super) fn apply(proxy: &Proxy, target: &Address) -> Result<(), Refused> {
    let set = proxy.route.set_target(target.clone());
    set.or_else(|error| not_set(target, error))
}

fn not_set<T>(target: &Address, error: SetTargetError) -> Result<T, Refused> {
    match error {
        SetTargetError::Contradiction(_) | SetTargetError::LeadsBack(_) => {
            invalid(&target.to_string(), &error.to_string())
        }
        SetTargetError::Fixed(fixed) => {
            refuse("TargetFixed", json!({ "target": fixed.to_string() }))
        }
        SetTargetError::NotSaved(error) => not_saved(&error.to_string()),
    }
}

fn invalid<T>(target: &str, reason: &str) -> Result<T, Refused> {
    refuse(
        "InvalidTarget",
        json!({ "target": target, "reason": reason }),
    )
}
