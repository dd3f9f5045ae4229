//! `unlock`: open the gate.

use serde_json::json;

use super::client::Proxy;
use super::failure::Failure;
use super::output;
use super::view::progress;
use crate::interface::UnlockReply;

/// Opens the gate. Where there is no proxy at all there is nothing to unlock, and that is a success:
/// a deployment that is taken back unlocks what may never have been there.
///
/// # Errors
///
/// When there is a proxy and it cannot be reached, or several and none was named.
pub async fn run(proxy: Result<Proxy, Failure>, as_json: bool) -> Result<(), Failure> {
    let reply = match proxy {
        Ok(proxy) => proxy
            .ask::<UnlockReply>("Unlock", json!({}))
            .await
            .map(Some),
        Err(failure) => Err(failure),
    };
    let reply = match reply {
        Err(failure) if failure.is_absence() => None,
        reply => reply?,
    };
    let text = match &reply {
        Some(reply) => progress(&reply.gate),
        None => "not running, nothing to unlock".to_owned(),
    };
    let left = reply.as_ref().and_then(|reply| reply.record_left.as_ref());
    if let Some(why) = left {
        output::note(format_args!(
            "warning: the record of the lock could not be removed ({why}), and a restart of the proxy \
             would lock again: mend that, and unlock once more"
        ));
    }
    output::done(as_json, &reply, text); // null when nothing runs
    Ok(())
}
