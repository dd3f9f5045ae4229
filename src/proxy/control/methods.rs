//! What is answered to one call. Methods that wait are streams of replies, so that a caller can be
//! seen to go away.

mod locking;
mod refused;
mod stream;
mod target;

use std::io;
use std::sync::Arc;

use serde_json::json;

use refused::{Refused, parameters, refuse};
use stream::{changed, gate_reply, pause};

use super::callers::send;
use crate::interface::{
    ConnectionParameters, ConnectionReply, DESCRIPTION, INTERFACE, StatusReply, UnlockReply,
    qualified,
};
use crate::proxy::assembly::Proxy;
use crate::proxy::connections::Abort;
use crate::service::varlink::{Call, Reply, ServiceInfo, VarlinkConnection};

const INFO: ServiceInfo = ServiceInfo {
    product: "disnix-tcp-proxy",
    version: env!("CARGO_PKG_VERSION"),
    url: env!("CARGO_PKG_REPOSITORY"),
    interface: INTERFACE,
    description: DESCRIPTION,
};

/// Why connections of an earlier process cannot be closed.
const NOT_OURS: &str = "an earlier process handed it over, and only who serves it can end it: \
                        restart that service, or wait";

/// Whether this is a call that waits for something to happen, not one that is answered at once.
pub(super) fn waits(call: &Call) -> bool {
    let is = |name| call.method == qualified(name);
    let is_tried = || !call.parameters["probeUSec"].is_null();
    is("Monitor") || is("Switch") || is("Lock") && call.more || is("SetTarget") && is_tried()
}

/// Answers `call`. An error means that the caller has gone.
pub(super) async fn answer(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Arc<Proxy>,
) -> io::Result<()> {
    let reply = match INFO.answer(call) {
        Some(reply) => reply,
        None => match dispatch(call, connection, proxy).await {
            Ok(Some(reply)) | Err(Refused::Reply(reply)) => reply,
            Ok(None) => return Ok(()),
            Err(Refused::Gone(error)) => return Err(error),
        },
    };
    match call.oneway {
        true => Ok(()),
        false => send(connection, &reply).await,
    }
}

/// The last reply, or none if the stream has sent it already.
async fn dispatch(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Arc<Proxy>,
) -> Result<Option<Reply>, Refused> {
    let method = call.method.rsplit('.').next().unwrap_or_default();
    Ok(Some(match method {
        "GetStatus" => Reply::last(StatusReply {
            status: proxy.status(),
        }),
        "ListConnections" => return list(call, connection, proxy).await,
        "Lock" => return locking::lock(call, connection, proxy).await,
        "Unlock" => {
            let record_left = proxy.admission.unlock();
            Reply::last(UnlockReply {
                gate: gate_reply(proxy),
                record_left,
            })
        }
        "SetTarget" => return target::set(call, connection, proxy).await,
        "Switch" => return locking::switch(call, connection, proxy).await,
        "Monitor" => return monitor(call, connection, proxy).await,
        "CloseConnection" => {
            let ConnectionParameters { id } = parameters(call)?;
            if id == 0 && proxy.route.handover.orphans() > 0 {
                return refuse("CannotClose", json!({ "id": id, "reason": NOT_OURS }));
            }
            match proxy.admission.connections.abort(id, Abort::Asked) {
                true => Reply::last(json!({})),
                false => return refuse("NoSuchConnection", json!({ "id": id })),
            }
        }
        _ => Reply::method_not_found(&call.method),
    }))
}

async fn list(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Proxy,
) -> Result<Option<Reply>, Refused> {
    let mut all = proxy.list_connections();
    if all.len() > 1 && !call.more {
        return Err(Refused::Reply(Reply::expected_more()));
    }
    let last = all.pop();
    for one in all {
        send(
            connection,
            &Reply::continued(ConnectionReply {
                connection: Some(one),
            }),
        )
        .await?;
    }
    Ok(Some(Reply::last(ConnectionReply { connection: last })))
}

async fn monitor(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Proxy,
) -> Result<Option<Reply>, Refused> {
    if !call.more {
        return Err(Refused::Reply(Reply::expected_more()));
    }
    let mut changes = proxy.admission.wakers.subscribe();
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let status = proxy.status();
        if told.as_ref() != Some(&status) {
            send(
                connection,
                &Reply::continued(StatusReply {
                    status: status.clone(),
                }),
            )
            .await?;
            told = Some(status);
            pause(connection).await?;
        }
        changed(&mut changes, connection).await?;
    }
}
