//! The process whose place is taken.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::error::TakeOverError;
use crate::interface::{HANDED_MAX, HandOverReply, RetireReply, qualified};
use crate::proxy::assembly::Proxy;
use crate::proxy::state::{LockDirectory, TargetFile};
use crate::service::address::Address;
use crate::service::listener::Listener;
use crate::service::path_check::PathCheck;
use crate::service::predecessor::PredecessorSockets;
use crate::service::varlink::{Call, ReceiveError, Reply, SERVICE_INTERFACE, VarlinkConnection};

/// The most bytes that a reply may have: every listener is told with its address.
const REPLY_MAX: usize = 1 << 20;

/// How long the other process may take for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How often to look again whether a process that is just ending has ended.
const LOOKS: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process whose place is taken.
#[derive(Debug)]
pub struct Predecessor {
    connection: VarlinkConnection,
    path: PathBuf,
    hand_over: HandOverReply,
    handed: Vec<OwnedFd>,
    surplus: Vec<Listener>,
    follows: bool,
}

/// The process that answers at `control`, with its sockets; `None` if there is none.
///
/// # Errors
///
/// When there is one that does not hand over its sockets.
pub async fn ask(control: &Path) -> Result<Option<Predecessor>, TakeOverError> {
    let mut looks = 0;
    loop {
        let Some(stream) = connect(control).await? else {
            return Ok(None);
        };
        match Predecessor::meet(stream, control).await {
            // It is just ending: soon nobody will be there.
            Err(TakeOverError::Lost(_)) if looks < LOOKS => looks += 1,
            result => return result.map(Some),
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn connect(path: &Path) -> Result<Option<UnixStream>, TakeOverError> {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    let connecting = async {
        loop {
            match UnixStream::connect(path).await {
                // So many callers wait that no more can, connect(2).
                Err(error) if error.kind() == WouldBlock => sleep(LOOK_EVERY).await,
                result => return result,
            }
        }
    };
    match timeout(ANSWER_TIME, connecting).await {
        Ok(Ok(stream)) => match stream.peer_cred() {
            Ok(peer) if PathCheck::strict().trusts(peer.uid()) => Ok(Some(stream)),
            Ok(peer) => Err(TakeOverError::NotOurs {
                path: path.to_owned(),
                user: peer.uid(),
            }),
            Err(error) => Err(TakeOverError::Unreachable {
                path: path.to_owned(),
                error,
            }),
        },
        Ok(Err(error)) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        Ok(Err(error)) => Err(TakeOverError::Unreachable {
            path: path.to_owned(),
            error,
        }),
        Err(_) => Err(TakeOverError::Silent(path.to_owned())),
    }
}

impl Predecessor {
    async fn meet(stream: UnixStream, path: &Path) -> Result<Self, TakeOverError> {
        let mut connection = VarlinkConnection::new(stream, REPLY_MAX);
        connection.accept_descriptors(HANDED_MAX);
        let path = path.to_owned();
        call(&mut connection, &path, "HandOver", false).await?;
        let reply = match timeout(ANSWER_TIME, connection.receive()).await {
            Ok(received) => understand(received, &path)?,
            Err(_) => return Err(TakeOverError::Silent(path)),
        };
        let hand_over: HandOverReply = read(&reply, &path)?;
        let handed = connection.take_descriptors();
        if handed.len() != hand_over.listeners.len() + 1 {
            return Err(foreign(
                &path,
                "it sent another number of sockets than it said",
            ));
        }
        Ok(Self {
            connection,
            path,
            hand_over,
            handed,
            surplus: Vec::new(),
            follows: false,
        })
    }

    /// Checks that its lock will be found here, and its target unless it is of no more use.
    ///
    /// # Errors
    ///
    /// When the one or the other is kept in different places.
    pub fn keeps_its_state_in(
        &self,
        lock: &LockDirectory,
        target: Option<&TargetFile>,
    ) -> Result<(), TakeOverError> {
        let HandOverReply {
            runtime_directory,
            state_directory,
            ..
        } = &self.hand_over;
        let compare = |what, directory, there: &Option<PathBuf>, here: Option<PathBuf>| match there
        {
            Some(there) if here.as_ref() != Some(there) => Err(TakeOverError::Elsewhere {
                path: self.path.clone(),
                what,
                directory,
                there: there.display().to_string(),
                here: here.map_or("no directory".to_owned(), |here| here.display().to_string()),
            }),
            _ => Ok(()),
        };
        compare("lock", "runtime", runtime_directory, lock.directory())?;
        match target {
            Some(file) => compare("target", "state", state_directory, file.directory()),
            None => Ok(()),
        }
    }

    /// Sockets for clients at these addresses, taken or new, and the one for callers. Both
    /// processes have them until [`Self::retire`].
    ///
    /// # Errors
    ///
    /// When one is neither handed over nor free.
    pub fn sockets(
        &mut self,
        addresses: &[Address],
    ) -> Result<(Vec<Listener>, Vec<Listener>), TakeOverError> {
        let mut sockets = std::mem::take(&mut self.handed);
        let control = sockets.pop();
        let mut handed = PredecessorSockets::new(sockets);
        let sort = || {
            let listeners = Listener::take_or_bind_all(addresses, &mut handed)?;
            let surplus = std::mem::take(&mut handed).rest()?;
            let control = control.map(|socket| Listener::handed(socket, Some(&self.path)));
            Ok((
                listeners,
                surplus,
                control.into_iter().collect::<Result<_, _>>()?,
            ))
        };
        match sort() {
            Ok((listeners, surplus, control)) => {
                self.surplus = surplus;
                Ok((listeners, control))
            }
            Err(error) => Err(TakeOverError::Listen {
                path: self.path.clone(),
                error,
                there: self.hand_over.listeners.join(", "),
            }),
        }
    }

    /// Has the other process accept nobody any more: from then on clients and callers are ours. Tells
    /// how many connections are still open there.
    ///
    /// # Errors
    ///
    /// When it has not done so; then it goes on.
    pub async fn retire(&mut self) -> Result<usize, TakeOverError> {
        call(&mut self.connection, &self.path, "Retire", true).await?;
        let received = match timeout(ANSWER_TIME, self.connection.receive()).await {
            Ok(received) => received,
            Err(_) => {
                // From here on it cannot retire any more; but it may have done so just now.
                self.connection.shutdown_read();
                self.connection.receive().await
            }
        };
        let reply = understand(received, &self.path)?;
        let RetireReply { open } = read(&reply, &self.path)?;
        self.follows = reply.continues;
        // What nobody asks for any more is closed, with its path.
        for listener in self.surplus.drain(..) {
            listener.keep();
            tracing::info!(LISTENER = %listener, "nobody listens on {listener} any more");
        }
        Ok(open)
    }

    /// Follows how the connections of the other process end, and has them cut when a lock forces
    /// its drain. When this is dropped before, they are cut too.
    pub async fn follow(mut self, proxy: Arc<Proxy>) {
        let mut cut = false;
        while self.follows {
            let received = tokio::select! {
                received = self.connection.receive() => received,
                () = proxy.predecessor_is_cut(), if !cut => {
                    cut = true;
                    self.connection.shutdown_write();
                    continue;
                }
            };
            let reply = understand(received, &self.path);
            let left = reply.and_then(|reply| {
                self.follows = reply.continues;
                read::<RetireReply>(&reply, &self.path)
            });
            match left {
                Ok(RetireReply { open }) => proxy.predecessor_has(open),
                Err(_) => break,
            }
        }
        // It has ended, or is no proxy: nothing is open there but what it has handed over.
        proxy.adopt_orphans();
    }

    /// Its process number and version, for people.
    pub fn name(&self) -> String {
        let HandOverReply { pid, version, .. } = &self.hand_over;
        format!("process {pid}, version {version}")
    }
}

async fn call(
    connection: &mut VarlinkConnection,
    path: &Path,
    method: &str,
    more: bool,
) -> Result<(), TakeOverError> {
    let call = Call {
        method: qualified(method),
        parameters: json!({}),
        more,
        oneway: false,
    };
    // A call that nobody takes shows in the answer that does not come.
    match timeout(ANSWER_TIME, connection.send(&call)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(TakeOverError::Lost(path.to_owned())),
        Err(_) => Err(TakeOverError::Silent(path.to_owned())),
    }
}

/// The reply, unless it is an error.
fn understand(
    received: Result<Option<Reply>, ReceiveError>,
    path: &Path,
) -> Result<Reply, TakeOverError> {
    let reply = match received {
        Ok(Some(reply)) => reply,
        Ok(None) | Err(ReceiveError::Lost(_)) => return Err(TakeOverError::Lost(path.to_owned())),
        Err(error) => return Err(foreign(path, error)),
    };
    let Some(name) = &reply.error else {
        return Ok(reply);
    };
    if *name == format!("{SERVICE_INTERFACE}.MethodNotFound") {
        return Err(TakeOverError::TooOld(path.to_owned()));
    }
    let text = |key: &str| reply.parameters[key].as_str().unwrap_or("?").to_owned();
    let reason = match name.rsplit('.').next().unwrap_or_default() {
        "BeingTakenOver" => format!(
            "another process{} is just taking over from it: wait until that one is ready",
            reply.parameters["pid"]
                .as_i64()
                .map(|pid| format!(" ({pid})"))
                .unwrap_or_default()
        ),
        "CannotHandOver" => format!("it cannot hand over its sockets, {}", text("reason")),
        _ => {
            return Err(foreign(
                path,
                format!("it answers {name} {}", reply.parameters),
            ));
        }
    };
    Err(TakeOverError::Refused {
        path: path.to_owned(),
        reason,
    })
}

fn read<T: serde::de::DeserializeOwned>(reply: &Reply, path: &Path) -> Result<T, TakeOverError> {
    serde_json::from_value(reply.parameters.clone()).map_err(|error| foreign(path, error))
}

fn foreign(path: &Path, reason: impl std::fmt::Display) -> TakeOverError {
    TakeOverError::Refused {
        path: path.to_owned(),
        reason: format!("what answers there is no proxy of a version known here ({reason})"),
    }
}
