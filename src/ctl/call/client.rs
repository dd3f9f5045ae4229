//! Calls to one proxy.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error_reply::failure_of;
use super::patience::{Patience, RETURN_TIME};
use crate::ctl::failure::CtlFailure;
use crate::interface::{CALL_MAX, qualified};
use crate::service::directory;
use crate::service::varlink::{Call, ReceiveError, Reply, VarlinkConnection};

/// The most bytes of a reply. The longest is the status of a proxy with very many listeners: 150 bytes for each.
const REPLY_MAX: usize = 1 << 20;

/// The time limit for an answer that needs no waiting. A busy machine may need seconds.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// A proxy, by its control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProxy {
    /// The instance, or the path of the socket.
    pub name: String,
    pub control: PathBuf,
    /// The options that name it, as typed in a shell, with a blank before them; empty if it needs none.
    pub options: String,
}

impl NamedProxy {
    /// A command about it, as typed in a shell.
    pub fn command(&self, words: &str) -> String {
        format!("disnix-tcp-proxyctl{} {words}", self.options)
    }

    /// Connects to the control socket; systemd starts the proxy if it is not running.
    pub async fn connect(&self) -> Result<Client, CtlFailure> {
        let mut patience = Patience::default();
        loop {
            match UnixStream::connect(&self.control).await {
                Ok(stream) => {
                    self.check_owner(&stream)?;
                    return Ok(Client {
                        connection: VarlinkConnection::new(stream, REPLY_MAX),
                        proxy: self.clone(),
                    });
                }
                // The backlog of an AF_UNIX socket is full: EAGAIN, connect(2).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !patience.pause().await {
                        return Err(self.silent(RETURN_TIME));
                    }
                }
                Err(error) => return Err(CtlFailure::of_connection(&self.control, error)),
            }
        }
    }

    /// Fails if another user could have put the socket there: one that says all is drained.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), CtlFailure> {
        let peer = stream.peer_cred();
        let peer = peer.map_err(|error| CtlFailure::of_connection(&self.control, error))?;
        let user = peer.uid();
        directory::is_place_of(&self.control, user).map_err(|error| CtlFailure::NotOurs {
            path: self.control.clone(),
            user,
            error,
        })
    }

    /// Calls a method that has one answer, which may take the time `limit`.
    pub async fn ask_once<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, CtlFailure> {
        let answer = async {
            let mut client = self.connect().await?;
            client.call(method, parameters, false).await?;
            Ok(client.reply().await?.parameters)
        };
        let result = timeout(limit, answer).await;
        result.unwrap_or_else(|_| Err(self.silent(limit)))
    }

    /// Like [`Self::ask_once`], for idempotent methods: a proxy that ends in this very moment (idle, restart)
    /// is asked again, and systemd starts the next one.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, CtlFailure> {
        let mut patience = Patience::default();
        for _ in 0..3 {
            match self.ask_once(limit, method, &parameters).await {
                Err(CtlFailure::Lost { .. }) => _ = patience.pause().await,
                result => return result,
            }
        }
        self.ask_once(limit, method, &parameters).await
    }

    /// The failure of a proxy that has not answered for the time `after`.
    pub fn silent(&self, after: Duration) -> CtlFailure {
        CtlFailure::Silent {
            path: self.control.clone(),
            after,
        }
    }
}

fn call(method: &str, parameters: impl Serialize, more: bool) -> Call {
    Call {
        method: qualified(method),
        parameters: serde_json::to_value(parameters).unwrap_or(Value::Null),
        more,
        oneway: false,
    }
}

/// Fails if a proxy would refuse the call for its length.
pub fn check_length(method: &str, parameters: impl Serialize) -> Result<(), CtlFailure> {
    let text = serde_json::to_vec(&call(method, parameters, true)).unwrap_or_default();
    // A NUL follows.
    match text.len() < CALL_MAX {
        true => Ok(()),
        false => Err(CtlFailure::too_long(CALL_MAX)),
    }
}

pub struct TypedReply<T> {
    pub parameters: T,
    /// Whether more replies follow.
    pub continues: bool,
}

/// A connection to one proxy. Dropping it hangs up.
pub struct Client {
    connection: VarlinkConnection,
    proxy: NamedProxy,
}

impl Client {
    /// Calls a method; the answers come by [`Self::reply`].
    pub async fn call(
        &mut self,
        method: &str,
        parameters: impl Serialize,
        more: bool,
    ) -> Result<(), CtlFailure> {
        let result = self.connection.send(&call(method, parameters, more)).await;
        result.map_err(|error| self.lost(Some(error)))
    }

    /// Waits for the next reply. Cancel safe.
    pub async fn reply<T: DeserializeOwned>(&mut self) -> Result<TypedReply<T>, CtlFailure> {
        let reply: Reply = match self.connection.receive().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(self.lost(None)),
            Err(ReceiveError::Lost(error)) => return Err(self.lost(Some(error))),
            Err(error) => return Err(self.foreign(error.to_string())),
        };
        if let Some(name) = &reply.error {
            let (path, shown_by) = (&self.proxy.control, self.proxy.command("connections"));
            return Err(failure_of(path, &shown_by, name, &reply.parameters));
        }
        let parameters = serde_json::from_value(reply.parameters);
        Ok(TypedReply {
            parameters: parameters.map_err(|error| self.foreign(error.to_string()))?,
            continues: reply.continues,
        })
    }

    /// The failure of a peer that is no proxy.
    pub fn foreign(&self, reason: impl Into<String>) -> CtlFailure {
        CtlFailure::Foreign {
            path: self.proxy.control.clone(),
            reason: reason.into(),
        }
    }

    fn lost(&self, error: Option<io::Error>) -> CtlFailure {
        CtlFailure::Lost {
            path: self.proxy.control.clone(),
            error,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A proxy that these options name.
    pub fn proxy(options: &str) -> NamedProxy {
        NamedProxy {
            name: "default".to_owned(),
            control: "/c".into(),
            options: options.to_owned(),
        }
    }

    #[test]
    fn a_command_about_a_proxy_names_it_as_the_user_has() {
        for (options, command) in [
            ("", "disnix-tcp-proxyctl unlock"),
            (
                " --instance web",
                "disnix-tcp-proxyctl --instance web unlock",
            ),
        ] {
            assert_eq!(proxy(options).command("unlock"), command);
        }
    }
}
