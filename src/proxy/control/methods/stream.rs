//! Replies one after the other, for a caller that can go away meanwhile.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::refused::{Refused, gone};
use crate::interface::GateReply;
use crate::proxy::assembly::Proxy;
use crate::service::varlink::VarlinkConnection;

/// The least time between two replies of a stream.
const REPLY_PAUSE: Duration = Duration::from_millis(100);

/// How often a stream looks at what changes without an event: the clients that wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The gate at this moment.
pub fn gate_reply(proxy: &Proxy) -> GateReply {
    let (gate, open) = proxy.admission.progress();
    GateReply {
        gate,
        open,
        queued: proxy.admission.backlog.waiting(),
    }
}

/// Lets some time pass between two replies.
pub async fn pause(connection: &mut VarlinkConnection) -> Result<(), Refused> {
    tokio::select! {
        () = sleep(REPLY_PAUSE) => Ok(()),
        () = connection.hung_up() => Err(gone()),
    }
}

/// Waits until something has changed, or it is time to look whether it has.
pub async fn changed(
    changes: &mut watch::Receiver<()>,
    connection: &mut VarlinkConnection,
) -> Result<(), Refused> {
    tokio::select! {
        _ = changes.changed() => Ok(()),
        () = sleep(LOOK_EVERY) => Ok(()),
        () = connection.hung_up() => Err(gone()),
    }
}
