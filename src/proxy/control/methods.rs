//! Answering a call. Methods that wait are streams of replies, so that it is noticed when a caller hangs up.

mod call_error;
mod exchange;
mod locking;
mod target;

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::json;

use call_error::{CallError, CallResult, parameters, refuse};
use exchange::{Exchange, gate_reply};

use super::callers::send;
use crate::interface::{
    ConnectionParameters, ConnectionReply, DESCRIPTION, INTERFACE, MetricsReply, StatusReply,
    UnlockReply, qualified,
};
use crate::proxy::admission::Abort;
use crate::proxy::assembly::Proxy;
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

/// Whether a call may wait for something to happen.
pub(super) fn waits(call: &Call) -> bool {
    let is = |name| call.method == qualified(name);
    let is_tried = || !call.parameters["probeUSec"].is_null();
    is("Monitor") || is("Switch") || is("Lock") && call.more || is("SetTarget") && is_tried()
}

/// Answers `call`.
/// Fails if the caller has hung up.
pub(super) async fn answer(
    call: &Call,
    connection: &mut VarlinkConnection,
    proxy: &Arc<Proxy>,
) -> io::Result<()> {
    let mut exchange = Exchange {
        call,
        connection,
        proxy,
    };
    let reply = match INFO.answer(call) {
        Some(reply) => reply,
        None => match dispatch(&mut exchange).await {
            Ok(reply) | Err(CallError::Reply(reply)) => reply,
            Err(CallError::Gone(error)) => return Err(error),
        },
    };
    match call.oneway {
        true => Ok(()),
        false => send(connection, &reply).await,
    }
}

async fn dispatch(exchange: &mut Exchange<'_>) -> CallResult {
    let proxy = exchange.proxy;
    let method = exchange.call.method.rsplit('.').next();
    match method.unwrap_or_default() {
        "GetStatus" => Ok(Reply::last(status_reply(proxy))),
        "GetMetrics" => Ok(Reply::last(metrics_reply(proxy))),
        "ListConnections" => list(exchange).await,
        "Lock" => locking::lock(exchange).await,
        "Unlock" => {
            let record_left = proxy.admission.unlock();
            let gate = gate_reply(&proxy.admission);
            Ok(Reply::last(UnlockReply { gate, record_left }))
        }
        "SetTarget" => target::set(exchange).await,
        "Switch" => locking::switch(exchange).await,
        "Monitor" => monitor(exchange).await,
        "CloseConnection" => close(exchange),
        _ => Ok(Reply::method_not_found(&exchange.call.method)),
    }
}

fn status_reply(proxy: &Proxy) -> StatusReply {
    let status = proxy.status();
    StatusReply { status }
}

fn metrics_reply(proxy: &Proxy) -> MetricsReply {
    let status = proxy.status();
    MetricsReply {
        survived: status.survived,
        status,
        drains: proxy.admission.drains.lengths(),
    }
}

async fn list(exchange: &mut Exchange<'_>) -> CallResult {
    let mut all = exchange.proxy.list_connections();
    if all.len() > 1 {
        exchange.expect_more()?;
    }
    let connection = all.pop();
    for one in all {
        let connection = Some(one);
        let reply = Reply::continued(ConnectionReply { connection });
        send(exchange.connection, &reply).await?;
    }
    Ok(Reply::last(ConnectionReply { connection }))
}

async fn monitor(exchange: &mut Exchange<'_>) -> CallResult {
    exchange.expect_more()?;
    let proxy = exchange.proxy;
    let look = || ControlFlow::<Infallible, _>::Continue(status_reply(proxy));
    match exchange.stream(look).await? {}
}

fn close(exchange: &Exchange<'_>) -> CallResult {
    let ConnectionParameters { id } = parameters(exchange.call)?;
    let proxy = exchange.proxy;
    if id == 0 && proxy.route.handover.orphans() > 0 {
        return refuse("CannotClose", json!({ "id": id, "reason": NOT_OURS }));
    }
    match proxy.admission.connections.abort(id, Abort::Asked) {
        true => Ok(Reply::last(json!({}))),
        false => refuse("NoSuchConnection", json!({ "id": id })),
    }
}
