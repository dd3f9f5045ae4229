//! A call that is being answered, while its caller may hang up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::call_error::{CallError, gone};
use crate::interface::{GateReply, GateState};
use crate::proxy::admission::{Admission, GateProgress};
use crate::proxy::assembly::Proxy;
use crate::proxy::control::callers::send;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The least time between two replies of a stream.
const REPLY_PAUSE: Duration = Duration::from_millis(100);

/// How often a stream looks at what changes without an event: the clients that wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Exchange<'a> {
    pub call: &'a Call,
    pub connection: &'a mut VarlinkConnection,
    pub proxy: &'a Arc<Proxy>,
}

impl Exchange<'_> {
    pub fn expect_more(&self) -> Result<(), CallError> {
        match self.call.more {
            true => Ok(()),
            false => Err(CallError::Reply(Reply::expected_more())),
        }
    }

    /// Replies with what `look` returns whenever that has changed, until `look` breaks.
    pub async fn stream<T: PartialEq + Serialize, B>(
        &mut self,
        look: impl Fn() -> ControlFlow<B, T>,
    ) -> Result<B, CallError> {
        let mut changes = self.proxy.admission.wakers.subscribe();
        let mut last = None;
        loop {
            changes.mark_unchanged();
            let state = match look() {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(end) => return Ok(end),
            };
            if last.as_ref() != Some(&state) {
                send(self.connection, &Reply::continued(&state)).await?;
                last = Some(state);
                tokio::select! {
                    () = sleep(REPLY_PAUSE) => {}
                    () = self.connection.hung_up() => return Err(gone()),
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(LOOK_EVERY) => {}
                () = self.connection.hung_up() => return Err(gone()),
            }
        }
    }
}

/// The gate at this moment.
pub fn gate_reply(admission: &Admission) -> GateReply {
    reply_of(admission, admission.progress())
}

/// The gate with this progress.
pub fn reply_of(admission: &Admission, progress: GateProgress) -> GateReply {
    GateReply {
        gate: progress.state,
        open: progress.open,
        queued: admission.backlog.waiting(),
        closed_idle: match progress.state {
            GateState::Open => 0,
            _ => admission.connections.closed_idle.load(Relaxed),
        },
        detached: progress.detached,
    }
}
