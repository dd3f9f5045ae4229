//! The administrator's hand: calls the proxy over Varlink, as `disnix-tcp-proxyctl` and the Disnix
//! wrapper do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use disnix_proxy_example::interface::{
    self, ConnectionReply, ConnectionStatus, GateReply, GateState, LockParameters, Status,
    StatusReply,
};
use disnix_proxy_example::service::varlink::{Call, Reply, VarlinkConnection};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time;

use crate::Fallible;
use crate::recorder::Recorder;

/// The longest message that is accepted.
const MESSAGE_MAX: usize = 64 * 1024;

/// How often the proxy is asked for its status, for the record.
const SAMPLE: Duration = Duration::from_millis(25);

/// A connection to a proxy's control socket.
pub struct Control(VarlinkConnection);

impl Control {
    /// Connects; a proxy that does not run is started by this.
    pub async fn connect(path: &Path) -> Fallible<Self> {
        let stream = UnixStream::connect(path).await?;
        Ok(Self(VarlinkConnection::new(stream, MESSAGE_MAX)))
    }

    /// What there is to know of the proxy now.
    pub async fn status(&mut self) -> Fallible<Status> {
        self.send("GetStatus", json!({}), false).await?;
        Ok(self.receive::<StatusReply>().await?.0.status)
    }

    /// The open connections.
    pub async fn connections(&mut self) -> Fallible<Vec<ConnectionStatus>> {
        self.send("ListConnections", json!({}), true).await?;
        let mut connections = Vec::new();
        loop {
            let (reply, more) = self.receive::<ConnectionReply>().await?;
            connections.extend(reply.connection);
            if !more {
                return Ok(connections);
            }
        }
    }

    /// Opens the gate.
    pub async fn unlock(&mut self) -> Fallible<()> {
        self.send("Unlock", json!({}), false).await?;
        self.receive::<GateReply>().await?;
        Ok(())
    }

    /// Closes the gate. The drain is complete when [`Drain::complete`] says so.
    pub async fn lock(mut self, reason: &str) -> Fallible<(Drain, GateReply)> {
        let parameters = LockParameters {
            reason: Some(reason.to_owned()),
            ..LockParameters::default()
        };
        self.send("Lock", serde_json::to_value(parameters)?, true)
            .await?;
        let (first, more) = self.receive().await?;
        let drain = Drain {
            control: self,
            complete: (!more).then_some(first),
        };
        Ok((drain, first))
    }

    async fn send(&mut self, method: &str, parameters: Value, more: bool) -> Fallible<()> {
        let method = interface::qualified(method);
        let call = Call {
            method,
            parameters,
            more,
            oneway: false,
        };
        Ok(self.0.send(&call).await?)
    }

    /// A reply, and whether more will follow.
    async fn receive<T: DeserializeOwned>(&mut self) -> Fallible<(T, bool)> {
        let reply: Reply = self.0.receive().await?.ok_or("the proxy hung up")?;
        match reply.error {
            None => Ok((serde_json::from_value(reply.parameters)?, reply.continues)),
            Some(error) => Err(format!("the proxy answers {error} {}", reply.parameters).into()),
        }
    }
}

/// A lock whose drain is awaited: the caller stays on the line, the proxy reports.
pub struct Drain {
    control: Control,
    complete: Option<GateReply>,
}

impl Drain {
    /// Waits until no connection is open any more.
    pub async fn complete(mut self) -> Fallible<GateReply> {
        loop {
            if let Some(reply) = self.complete {
                return match reply.gate {
                    GateState::Locked => Ok(reply),
                    gate => Err(format!("the drain ended with the gate {gate:?}").into()),
                };
            }
            let (reply, more) = self.control.receive().await?;
            self.complete = (!more).then_some(reply);
        }
    }
}

/// Asks the proxy for its status again and again; a proxy that is away is asked again later.
pub async fn sample(path: PathBuf, recorder: Recorder) {
    let mut clock = time::interval(SAMPLE);
    loop {
        clock.tick().await;
        let Ok(mut control) = Control::connect(&path).await else {
            continue;
        };
        while let Ok(status) = control.status().await {
            recorder.sample(status.open, status.queued);
            clock.tick().await;
        }
    }
}
