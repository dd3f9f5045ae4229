//! `unlock`: open the gate.

use serde_json::json;

use super::call::client::{ANSWER_TIME, NamedProxy};
use super::drain_view::view::progress;
use super::failure::CtlFailure;
use super::terminal::output;
use crate::interface::UnlockReply;
use crate::service::program::note;

/// Opens the gate. The absence of a proxy is a success: a deployment that is rolled back may never have had one.
pub async fn run(proxy: Result<NamedProxy, CtlFailure>, as_json: bool) -> Result<(), CtlFailure> {
    let reply = async { proxy?.ask(ANSWER_TIME, "Unlock", json!({})).await };
    let reply: Option<UnlockReply> = match reply.await {
        Err(failure) if failure.is_absence() => None,
        reply => Some(reply?),
    };
    let text = match &reply {
        Some(reply) => progress(&reply.gate),
        None => "not running, nothing to unlock".to_owned(),
    };
    let record_left = reply.as_ref().and_then(|reply| reply.record_left.as_ref());
    if let Some(why) = record_left {
        note(format_args!(
            "warning: the record of the lock could not be removed ({why}), and a restart of the proxy \
             would lock again: mend that, and unlock once more"
        ));
    }
    output::done(as_json, &reply, text); // null when nothing runs
    Ok(())
}
