//! The administrator's calls to the proxy, over Varlink, as `disnix-tcp-proxyctl` makes them.

use std::path::PathBuf;
use std::time::Duration;

use disnix_proxy_example::interface::{
    ConnectionReply, ConnectionStatus, GateReply, GateState, LockParameters, Status, StatusReply,
    qualified,
};
use disnix_proxy_example::service::varlink::{Call, Reply, VarlinkConnection};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time;

use crate::Fallible;
use crate::recorder::Recorder;

/// How often the record gets a sample of the proxy's status.
const SAMPLE: Duration = Duration::from_millis(25);

/// Calls the proxy at a control socket. A call starts a proxy that does not run.
#[derive(Clone)]
pub struct Control(PathBuf);

impl Control {
    /// The proxy at this control socket.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The state of the proxy.
    pub async fn status(&self) -> Fallible<Status> {
        let mut replies = self.call("GetStatus", json!({}), false).await?;
        Ok(replies.next::<StatusReply>().await?.0.status)
    }

    /// The open connections.
    pub async fn connections(&self) -> Fallible<Vec<ConnectionStatus>> {
        let mut replies = self.call("ListConnections", json!({}), true).await?;
        let mut connections = Vec::new();
        loop {
            let (reply, more) = replies.next::<ConnectionReply>().await?;
            connections.extend(reply.connection);
            if !more {
                return Ok(connections);
            }
        }
    }

    /// Opens the gate.
    pub async fn unlock(&self) -> Fallible<()> {
        let mut replies = self.call("Unlock", json!({}), false).await?;
        replies.next::<GateReply>().await?;
        Ok(())
    }

    /// Closes the gate; the drain may take longer.
    pub async fn lock(&self, reason: &str) -> Fallible<(Drain, GateReply)> {
        let parameters = serde_json::to_value(LockParameters {
            reason: Some(reason.to_owned()),
            ..LockParameters::default()
        })?;
        let mut replies = self.call("Lock", parameters, true).await?;
        let (first, more) = replies.next().await?;
        let complete = (!more).then_some(first);
        Ok((Drain { replies, complete }, first))
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

    async fn call(&self, method: &str, parameters: Value, more: bool) -> Fallible<Replies> {
        let stream = UnixStream::connect(&self.0).await?;
        let mut connection = VarlinkConnection::new(stream, 64 * 1024);
        let (method, oneway) = (qualified(method), false);
        let call = Call {
            method,
            parameters,
            more,
            oneway,
        };
        connection.send(&call).await?;
        Ok(Replies(connection))
    }
}

/// The replies to a call.
struct Replies(VarlinkConnection);

impl Replies {
    /// The next one, and whether more follow.
    async fn next<T: DeserializeOwned>(&mut self) -> Fallible<(T, bool)> {
        let reply: Reply = self.0.receive().await?.ok_or("the proxy hung up")?;
        match reply.error {
            None => Ok((serde_json::from_value(reply.parameters)?, reply.continues)),
            Some(error) => Err(format!("the proxy answers {error} {}", reply.parameters).into()),
        }
    }
}

/// A lock that waits for its drain.
pub struct Drain {
    replies: Replies,
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
                    let (reply, more) = self.replies.next().await?;
                    self.complete = (!more).then_some(reply);
                }
            }
        }
    }
}
