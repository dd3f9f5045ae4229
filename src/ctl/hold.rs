//! The end of a lock that lasts as long as its call.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::call::client::NamedProxy;
use super::call::wait::{CallEvent, DrainCall, PendingCall};
use super::failure::CtlFailure;
use super::status;
use crate::interface::{GateState, LockParameters, Status, StatusReply};

/// How long the proxy may take to notice that we have hung up, before others are said to keep the gate closed.
const HANG_UP_TIME: Duration = Duration::from_secs(2);

/// How often it hangs up at most: the proxy may be killed each time.
const HANG_UPS: u32 = 10;

/// Hangs up, which ends the lock. A proxy that was killed before it noticed has left the lock to the next process,
/// which would keep it for a while for its caller: that one is called again, with the `parameters` of the first call. Returns
/// the state of the gate.
pub async fn release(
    proxy: &NamedProxy,
    parameters: &LockParameters,
    mut call: PendingCall,
) -> Result<Status, CtlFailure> {
    for _ in 1..HANG_UPS {
        call.hang_up().await;
        match gate_after_hanging_up(proxy).await {
            Ok(status) if !is_left_over(&status) => return Ok(status),
            _ => {}
        }
        call = PendingCall::start(proxy, DrainCall::Lock(parameters.clone()));
        while !matches!(call.next().await?, CallEvent::Reply { .. }) {}
    }
    call.hang_up().await;
    gate_after_hanging_up(proxy).await
}

/// Whether the lock is that of a caller of an earlier process.
fn is_left_over(status: &Status) -> bool {
    status
        .lock
        .as_ref()
        .is_some_and(|lock| !lock.kept && lock.callers == 0)
}

/// The state when the proxy has noticed that we have hung up, or when that takes too long: the gate stays closed, for
/// others.
async fn gate_after_hanging_up(proxy: &NamedProxy) -> Result<Status, CtlFailure> {
    match timeout(HANG_UP_TIME, wait_for_gate(proxy)).await {
        Ok(status) => status,
        Err(_) => status::get(proxy).await,
    }
}

/// Follows the state until the lock of this call, which is not kept, is gone, or left over.
async fn wait_for_gate(proxy: &NamedProxy) -> Result<Status, CtlFailure> {
    let mut client = proxy.connect().await?;
    client.call("Monitor", json!({}), true).await?;
    loop {
        let status = client.reply::<StatusReply>().await?.parameters.status;
        let is_kept = status.lock.as_ref().is_some_and(|lock| lock.kept);
        if status.gate == GateState::Open || is_kept || is_left_over(&status) {
            return Ok(status);
        }
    }
}
