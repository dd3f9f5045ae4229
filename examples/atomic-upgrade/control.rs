//! The administrator's calls to the proxy, over Varlink, as `disnix-tcp-proxyctl` makes them.

use std::path::PathBuf;
use std::time::Duration;

use disnix_proxy_example::ctl::client::{Client, Proxy};
use disnix_proxy_example::interface::{
    ConnectionReply, ConnectionStatus, GateReply, GateState, LockParameters, Status, StatusReply,
};
use serde_json::json;
use tokio::time;

use crate::Fallible;
use crate::recorder::Recorder;

/// How often the record gets a sample of the proxy's status.
const SAMPLE: Duration = Duration::from_millis(25);

/// Calls the proxy at a control socket. A call starts a proxy that does not run.
#[derive(Clone)]
pub struct Control(Proxy);

impl Control {
    /// The proxy at this control socket.
    pub fn at(control: PathBuf) -> Self {
        let name = control.display().to_string();
        Self(Proxy { name, control })
    }

    /// The state of the proxy.
    pub async fn status(&self) -> Fallible<Status> {
        let reply: StatusReply = self.0.ask_once("GetStatus", json!({})).await?;
        Ok(reply.status)
    }

    /// The open connections.
    pub async fn connections(&self) -> Fallible<Vec<ConnectionStatus>> {
        let mut client = self.0.connect().await?;
        client.call("ListConnections", json!({}), true).await?;
        let mut connections = Vec::new();
        loop {
            let answer = client.reply::<ConnectionReply>().await?;
            connections.extend(answer.parameters.connection);
            if !answer.continues {
                return Ok(connections);
            }
        }
    }

    /// Opens the gate.
    pub async fn unlock(&self) -> Fallible<()> {
        self.0.ask_once::<GateReply>("Unlock", json!({})).await?;
        Ok(())
    }

    /// Closes the gate; the drain may take longer.
    pub async fn lock(&self, reason: &str) -> Fallible<(Drain, GateReply)> {
        let parameters = LockParameters {
            reason: Some(reason.to_owned()),
            ..LockParameters::default()
        };
        let mut client = self.0.connect().await?;
        client.call("Lock", parameters, true).await?;
        let first = client.reply().await?;
        let complete = (!first.continues).then_some(first.parameters);
        Ok((Drain { client, complete }, first.parameters))
    }

    /// Samples the status until it is aborted; while the proxy does not answer, there is no sample.
    pub async fn sample(self, recorder: Recorder) {
        let mut clock = time::interval(SAMPLE);
        loop {
            clock.tick().await;
            if let Ok(status) = self.status().await {
                recorder.sample(status.open, status.queued);
            }
        }
    }
}

/// A lock that waits for its drain.
pub struct Drain {
    client: Client,
    complete: Option<GateReply>,
}

impl Drain {
    /// Waits until no connection is open.
    pub async fn complete(mut self) -> Fallible<GateReply> {
        loop {
            match self.complete {
                Some(reply) if reply.gate == GateState::Locked => return Ok(reply),
                Some(reply) => {
                    return Err(format!("the drain ended with the gate {:?}", reply.gate).into());
                }
                None => {
                    let answer = self.client.reply().await?;
                    self.complete = (!answer.continues).then_some(answer.parameters);
                }
            }
        }
    }
}
