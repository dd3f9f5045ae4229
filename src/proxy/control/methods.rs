//! What is answered to one call. Methods that wait are streams of replies, so that a caller can be
//! seen to go away.

mod locking;
mod target;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::server::send;
use crate::interface::{
    ConnectionParameters, ConnectionReply, DESCRIPTION, GateReply, INTERFACE, StatusReply,
    qualified,
};
use crate::proxy::connections::Abort;
use crate::proxy::shell::Proxy;
use crate::service::clock::Uptime;
use crate::service::varlink::{Call, Connection, Reply, ServiceInfo};

const INFO: ServiceInfo = ServiceInfo {
    product: "disnix-tcp-proxy",
    version: env!("CARGO_PKG_VERSION"),
    url: env!("CARGO_PKG_REPOSITORY"),
    interface: INTERFACE,
    description: DESCRIPTION,
};

/// The least time between two replies of a stream.
const REPLY_PAUSE: Duration = Duration::from_millis(100);

/// Why connections of an earlier process cannot be closed.
const NOT_OURS: &str = "an earlier process handed it over, and only who serves it can end it: \
                        restart that service, or wait";

/// How often a stream looks at what changes without an event: the clients that wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether this is a call that waits for something to happen, not one that is answered at once.
pub(super) fn waits(call: &Call) -> bool {
    let is = |name| call.method == qualified(name);
    let is_tried = || !call.parameters["probeUSec"].is_null();
    is("Monitor") || is("Switch") || is("Lock") && call.more || is("SetTarget") && is_tried()
}

/// Answers `call`. An error means that the caller has gone.
pub(super) async fn answer(
    call: &Call,
    connection: &mut Connection,
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

/// Why a call came to nothing.
enum Refused {
    /// The caller is told so.
    Reply(Reply),
    /// It has gone.
    Gone(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

fn refuse<T>(name: &str, parameters: Value) -> Result<T, Refused> {
    Err(Refused::Reply(Reply::error(qualified(name), parameters)))
}

/// The last reply, or none if the stream has sent it already.
async fn dispatch(
    call: &Call,
    connection: &mut Connection,
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
            proxy.unlock();
            Reply::last(gate_reply(proxy))
        }
        "SetTarget" => return target::set(call, connection, proxy).await,
        "Switch" => return locking::switch(call, connection, proxy).await,
        "Monitor" => return monitor(call, connection, proxy).await,
        "CloseConnection" => {
            let ConnectionParameters { id } = parameters(call)?;
            if id == 0 && proxy.handover.orphans() > 0 {
                return refuse("CannotClose", json!({ "id": id, "reason": NOT_OURS }));
            }
            match proxy.connections.abort(id, Abort::Asked) {
                true => Reply::last(json!({})),
                false => return refuse("NoSuchConnection", json!({ "id": id })),
            }
        }
        _ => Reply::method_not_found(&call.method),
    }))
}

fn parameters<T: DeserializeOwned>(call: &Call) -> Result<T, Refused> {
    let refused = |name: &str| Refused::Reply(Reply::invalid_parameter(name));
    let value = match &call.parameters {
        Value::Null => json!({}),
        Value::Object(_) => call.parameters.clone(),
        // serde would read a struct from an array too.
        _ => return Err(refused("parameters")),
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // One that is missing has no path; serde puts its name between backquotes.
        let text = error.inner().to_string();
        match path.as_str() {
            "." => refused(text.split('`').nth(1).unwrap_or("parameters")),
            name => refused(name),
        }
    })
}

fn gate_reply(proxy: &Proxy) -> GateReply {
    let (gate, open) = proxy.progress();
    GateReply {
        gate,
        open,
        queued: proxy.queued(),
    }
}

fn not_saved<T>(reason: &str) -> Result<T, Refused> {
    refuse("StateNotSaved", json!({ "reason": reason }))
}

async fn list(
    call: &Call,
    connection: &mut Connection,
    proxy: &Proxy,
) -> Result<Option<Reply>, Refused> {
    let mut all = proxy.connections.list(Uptime::now());
    all.extend(proxy.list_orphans());
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
    connection: &mut Connection,
    proxy: &Proxy,
) -> Result<Option<Reply>, Refused> {
    if !call.more {
        return Err(Refused::Reply(Reply::expected_more()));
    }
    let mut changes = proxy.subscribe();
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

/// Lets some time pass between two replies.
async fn pause(connection: &mut Connection) -> Result<(), Refused> {
    tokio::select! {
        () = sleep(REPLY_PAUSE) => Ok(()),
        () = connection.hung_up() => Err(gone()),
    }
}

/// Waits until something has changed, or it is time to look whether it has.
async fn changed(
    changes: &mut watch::Receiver<()>,
    connection: &mut Connection,
) -> Result<(), Refused> {
    tokio::select! {
        _ = changes.changed() => Ok(()),
        () = sleep(LOOK_EVERY) => Ok(()),
        () = connection.hung_up() => Err(gone()),
    }
}

fn gone() -> Refused {
    Refused::Gone(io::ErrorKind::ConnectionAborted.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{LockParameters, TargetParameters};

    fn refused(parameters_given: Value) -> String {
        let call = Call {
            parameters: parameters_given,
            ..Call::default()
        };
        match parameters::<LockParameters>(&call) {
            Err(Refused::Reply(reply)) => {
                reply.parameters["parameter"].as_str().unwrap().to_owned()
            }
            _ => panic!("{call:?} was taken"),
        }
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named() {
        assert_eq!(refused(json!([])), "parameters");
        assert_eq!(refused(json!("lock")), "parameters");
        assert_eq!(refused(json!({ "leaseUSec": -1 })), "leaseUSec");
        assert_eq!(refused(json!({ "reason": 7 })), "reason");
        assert_eq!(refused(json!({ "leeseUSec": 1 })), "leeseUSec");
        let none = Call::default();
        assert!(parameters::<LockParameters>(&none).is_ok());
        match parameters::<TargetParameters>(&none) {
            Err(Refused::Reply(reply)) => assert_eq!(reply.parameters["parameter"], "target"),
            _ => panic!("a target is needed"),
        }
    }
}
