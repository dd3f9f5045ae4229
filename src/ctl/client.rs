//! Talking to one proxy.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use crate::interface::{CALL_MAX, qualified};
use crate::service::directory;
use crate::service::varlink::{Call, ReceiveError, Reply, VarlinkConnection};

/// The most bytes that a reply may have. The longest is the status of a proxy with very many
/// listeners, some 150 bytes each.
const REPLY_MAX: usize = 1 << 20;

/// How long a proxy may take for an answer that needs no waiting. A proxy that is just being started
/// needs milliseconds; a machine that is very busy, seconds.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long to try to reach a proxy again that was there a moment ago.
const RETURN_TIME: Duration = Duration::from_secs(30);

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What people call it: the instance, or the path of the socket.
    pub name: String,
    /// Its control socket.
    pub control: PathBuf,
}

impl Proxy {
    /// Connects to the control socket; systemd starts the proxy if it is not running.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or we may not.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let mut patience = Patience::default();
        loop {
            match UnixStream::connect(&self.control).await {
                Ok(stream) => {
                    self.check_owner(&stream)?;
                    return Ok(Client {
                        connection: VarlinkConnection::new(stream, REPLY_MAX),
                        path: self.control.clone(),
                    });
                }
                // The backlog of an AF_UNIX socket is full: EAGAIN, connect(2).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !patience.pause().await {
                        return Err(self.silent(RETURN_TIME));
                    }
                }
                Err(error) => return Err(Failure::of_connection(&self.control, error)),
            }
        }
    }

    /// Whether what answers may be believed. Who can put a socket at this path can say that all is drained.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), Failure> {
        let user = stream.peer_cred().map_err(|error| Failure::Unreachable {
            path: self.control.clone(),
            error,
        })?;
        let owned = directory::is_place_of(&self.control, user.uid());
        owned.map_err(|error| Failure::NotOurs {
            path: self.control.clone(),
            user: user.uid(),
            error,
        })
    }

    /// Calls a method that has one answer and does not wait.
    ///
    /// # Errors
    ///
    /// When the proxy cannot be reached or answers with an error.
    pub async fn ask_once<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, Failure> {
        self.ask_within(ANSWER_TIME, method, parameters).await
    }

    async fn ask_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, Failure> {
        let answer = async {
            let mut client = self.connect().await?;
            client.call(method, parameters, false).await?;
            Ok(client.reply().await?.parameters)
        };
        match timeout(limit, answer).await {
            Ok(result) => result,
            Err(_) => Err(self.silent(limit)),
        }
    }

    /// Like [`Self::ask_once`], for methods that may as well be called twice: a proxy that ends in
    /// this very moment (idle, restart) is asked again, and systemd starts the next one.
    ///
    /// # Errors
    ///
    /// As [`Self::ask_once`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, Failure> {
        self.ask_for(Duration::ZERO, method, parameters).await
    }

    /// As [`Self::ask`], for a method that takes so long.
    ///
    /// # Errors
    ///
    /// As [`Self::ask_once`].
    pub async fn ask_for<T: DeserializeOwned>(
        &self,
        work: Duration,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<T, Failure> {
        let limit = work.saturating_add(ANSWER_TIME);
        let mut patience = Patience::default();
        for _ in 0..3 {
            match self.ask_within(limit, method, &parameters).await {
                Err(Failure::Lost { .. }) => _ = patience.pause().await,
                result => return result,
            }
        }
        self.ask_within(limit, method, &parameters).await
    }

    /// The failure of a proxy that does not answer.
    pub fn silent(&self, after: Duration) -> Failure {
        Failure::Silent {
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

/// Whether a proxy takes a call with so much in it.
///
/// # Errors
///
/// When it does not: before it is asked.
pub fn check_length(method: &str, parameters: impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec(&call(method, parameters, true)).unwrap_or_default();
    // A NUL follows.
    match text.len() < CALL_MAX {
        true => Ok(()),
        false => Err(Failure::too_long(CALL_MAX)),
    }
}

/// A reply, read.
#[derive(Debug)]
pub struct Answer<T> {
    /// What it says.
    pub parameters: T,
    /// Whether more follow.
    pub continues: bool,
}

/// A connection to one proxy. Dropping it hangs up.
#[derive(Debug)]
pub struct Client {
    connection: VarlinkConnection,
    path: PathBuf,
}

impl Client {
    /// Calls a method; the answers come by [`Self::reply`].
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn call(
        &mut self,
        method: &str,
        parameters: impl Serialize,
        more: bool,
    ) -> Result<(), Failure> {
        let sent = self.connection.send(&call(method, parameters, more)).await;
        sent.map_err(|error| self.lost(Some(error)))
    }

    /// Waits for the next reply. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the proxy answers with an error, hangs up, or sends what is no reply.
    pub async fn reply<T: DeserializeOwned>(&mut self) -> Result<Answer<T>, Failure> {
        let reply: Reply = match self.connection.receive().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(self.lost(None)),
            Err(ReceiveError::Lost(error)) => return Err(self.lost(Some(error))),
            Err(error) => return Err(self.foreign(error.to_string())),
        };
        if let Some(name) = &reply.error {
            return Err(Failure::answered(
                self.path.clone(),
                name,
                &reply.parameters,
            ));
        }
        match serde_json::from_value(reply.parameters) {
            Ok(parameters) => Ok(Answer {
                parameters,
                continues: reply.continues,
            }),
            Err(error) => Err(self.foreign(error.to_string())),
        }
    }

    /// The failure of somebody who answers and is no proxy.
    pub fn foreign(&self, reason: impl Into<String>) -> Failure {
        Failure::Foreign {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    fn lost(&self, error: Option<io::Error>) -> Failure {
        Failure::Lost {
            path: self.path.clone(),
            error,
        }
    }
}

/// How to wait for somebody who is expected back, without hammering.
#[derive(Debug)]
pub struct Patience {
    waited: Duration,
    next: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            waited: Duration::ZERO,
            next: Duration::from_millis(50),
        }
    }
}

impl Patience {
    /// Pauses a little longer each time; `false` when it has been long enough.
    pub async fn pause(&mut self) -> bool {
        let pause = self.next_pause();
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        pause.is_some()
    }

    fn next_pause(&mut self) -> Option<Duration> {
        let pause = (self.waited < RETURN_TIME).then_some(self.next)?;
        self.waited += pause;
        self.next = (pause * 2).min(Duration::from_secs(1));
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_after_half_a_minute_and_does_not_hammer() {
        let mut patience = Patience::default();
        let pauses: Vec<Duration> = std::iter::from_fn(|| patience.next_pause()).collect();
        let waited: Duration = pauses.iter().sum();
        assert!(waited >= RETURN_TIME && waited < RETURN_TIME + Duration::from_secs(1));
        assert!(pauses.len() < 40, "{}", pauses.len());
    }
}
