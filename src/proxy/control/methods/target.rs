//! `SetTarget`, and what it has in common with `Switch`: a target is tried before it is used.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::call_error::{CallError, CallResult, gone, not_saved, parameters, refuse};
use super::exchange::Exchange;
use crate::interface::TargetParameters;
use crate::proxy::assembly::Proxy;
use crate::proxy::route::SetTargetError;
use crate::proxy::upstream::{Attempts, Spare, log_failure};
use crate::service::address::Address;
use crate::service::varlink::Reply;

pub(super) async fn set(exchange: &mut Exchange<'_>) -> CallResult {
    let TargetParameters {
        target,
        probe_usec,
        try_only,
    } = parameters(exchange.call)?;
    let proxy = exchange.proxy;
    let address = check(proxy, &target).await?;
    let reply = Reply::last(json!({ "target": address.to_string() }));
    if try_only == Some(true) {
        check_not_fixed(proxy)?;
        probe(exchange, &address, probe_usec).await?;
        return Ok(reply);
    }
    if let Some(reason) = failure(exchange, &address, probe_usec).await? {
        // Without a target clients would wait for ever: this one is better than none.
        let is_set = proxy.route.target().is_none();
        if is_set {
            apply(proxy, &address)?;
        }
        return silent(&address, &reason, is_set);
    }
    apply(proxy, &address)?;
    Ok(reply)
}

/// Refuses if the target cannot be changed.
pub(super) fn check_not_fixed(proxy: &Proxy) -> Result<(), CallError> {
    match (proxy.route.settings.target_fixed, proxy.route.target()) {
        (true, Some(fixed)) => refuse("TargetFixed", json!({ "target": fixed.to_string() })),
        _ => Ok(()),
    }
}

/// Reads a target and checks what can be checked without trying it.
pub(super) async fn check(proxy: &Proxy, target: &str) -> Result<Address, CallError> {
    let address = match Address::parse_target(target) {
        Ok(address) => address,
        Err(error) => return invalid(target, &error.to_string()),
    };
    match proxy.route.check_target_name(&address).await {
        Ok(()) => Ok(address),
        Err(error) => not_set(&address, error),
    }
}

/// Refuses a target that cannot be reached from here within `usec` microseconds. Tries nothing without a time.
pub(super) async fn probe(
    exchange: &mut Exchange<'_>,
    target: &Address,
    usec: Option<u64>,
) -> Result<(), CallError> {
    match failure(exchange, target, usec).await? {
        None => Ok(()),
        Some(reason) => silent(target, &reason, false),
    }
}

fn silent<T>(target: &Address, reason: &str, is_set: bool) -> Result<T, CallError> {
    let mut parameters = json!({ "target": target.to_string(), "reason": reason });
    if is_set {
        parameters["set"] = true.into();
    }
    refuse("TargetSilent", parameters)
}

/// Why the target cannot be reached from here within `usec` microseconds, if it cannot.
async fn failure(
    exchange: &mut Exchange<'_>,
    target: &Address,
    usec: Option<u64>,
) -> Result<Option<String>, CallError> {
    let Some(usec) = usec else {
        return Ok(None);
    };
    let attempts = Attempts::from_now(Some(Duration::from_micros(usec)));
    let target = Arc::new(target.clone());
    let connector = &exchange.proxy.route.connector;
    let target = || Arc::clone(&target);
    let failed = |target: &Arc<Address>, error: &_| log_failure(target, error, None);
    let connecting = connector.connect_with_retries(target, attempts, Spare::default(), failed);
    tokio::select! {
        biased;
        connected = connecting => Ok(connected.err().map(|error| error.to_string())),
        () = exchange.connection.hung_up() => Err(gone()),
    }
}

pub(super) fn apply(proxy: &Proxy, target: &Address) -> Result<(), CallError> {
    let set = proxy.route.set_target(target.clone());
    set.or_else(|error| not_set(target, error))
}

fn not_set<T>(target: &Address, error: SetTargetError) -> Result<T, CallError> {
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

fn invalid<T>(target: &str, reason: &str) -> Result<T, CallError> {
    let parameters = json!({ "target": target, "reason": reason });
    refuse("InvalidTarget", parameters)
}
