//! The process whose place is taken.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::error::{Obstacle, TakeOverError};
use crate::interface::{
    ConfirmParameters, HANDED_MAX, HandOverReply, PassedClient, RetireParameters, RetireReply,
    qualified,
};
use crate::proxy::admission::{Gate, LockDirectory, TargetFile};
use crate::proxy::assembly::Proxy;
use crate::proxy::requests::RequestKind;
use crate::service::address::Address;
use crate::service::listener::Listener;
use crate::service::path_check::PathCheck;
use crate::service::predecessor::PredecessorSockets;
use crate::service::varlink::{Call, ReceiveError, Reply, SERVICE_INTERFACE, VarlinkConnection};

/// The most bytes of a reply, which has the address of every listener.
const REPLY_MAX: usize = 1 << 20;

/// How long the other process may take for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How often, and after which pause, a process that is just ending is called again.
const LOOKS: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Predecessor {
    connection: VarlinkConnection,
    path: PathBuf,
    hand_over: HandOverReply,
    sockets: Vec<OwnedFd>,
    /// Listeners that this process has no use for.
    surplus: Vec<Listener>,
    /// Whether replies to `Retire` follow.
    has_more_replies: bool,
}

/// Asks the process that answers at `control` for its sockets; `None` if there is no such process.
/// Fails if it does not hand over its sockets.
pub async fn ask(control: &Path) -> Result<Option<Predecessor>, TakeOverError> {
    let mut looks = 0;
    loop {
        match meet(control).await {
            // It is just ending: soon it will be gone.
            Err(Obstacle::Lost) if looks < LOOKS => looks += 1,
            result => {
                let path = control.to_owned();
                return result.map_err(|obstacle| TakeOverError { path, obstacle });
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn meet(path: &Path) -> Result<Option<Predecessor>, Obstacle> {
    let Some(stream) = connect(path).await? else {
        return Ok(None);
    };
    let mut connection = VarlinkConnection::new(stream, REPLY_MAX);
    connection.accept_descriptors(HANDED_MAX);
    let hand_over = method("HandOver", json!({}));
    call(&mut connection, &hand_over).await?;
    let received = timeout(ANSWER_TIME, connection.receive()).await;
    let reply = understand(received.map_err(|_| Obstacle::Silent)?)?;
    let hand_over: HandOverReply = read(&reply)?;
    let sockets = connection.take_descriptors();
    if sockets.len() != hand_over.listeners.len() + 1 {
        return Err(Obstacle::Refused(format!(
            "{} of its {} sockets have come (raise LimitNOFILE=); it goes on",
            sockets.len(),
            hand_over.listeners.len() + 1
        )));
    }
    Ok(Some(Predecessor {
        connection,
        path: path.to_owned(),
        hand_over,
        sockets,
        surplus: Vec::new(),
        has_more_replies: false,
    }))
}

async fn connect(path: &Path) -> Result<Option<UnixStream>, Obstacle> {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    let connecting = async {
        loop {
            match UnixStream::connect(path).await {
                // The backlog is full, connect(2).
                Err(error) if error.kind() == WouldBlock => sleep(LOOK_EVERY).await,
                result => return result,
            }
        }
    };
    let connected = timeout(ANSWER_TIME, connecting).await;
    let stream = match connected.map_err(|_| Obstacle::Silent)? {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(Obstacle::Unreachable(error)),
    };
    let user = stream.peer_cred().map_err(Obstacle::Unreachable)?.uid();
    match PathCheck::strict().trusts(user) {
        true => Ok(Some(stream)),
        false => Err(Obstacle::NotOurs { user }),
    }
}

impl Predecessor {
    fn failure(&self, obstacle: Obstacle) -> TakeOverError {
        let path = self.path.clone();
        TakeOverError { path, obstacle }
    }

    /// Checks that its lock will be found here, and its target too if that is needed.
    /// Fails if this process would look for one of them somewhere else.
    pub fn check_directories(
        &self,
        lock: &LockDirectory,
        target: Option<&TargetFile>,
    ) -> Result<(), TakeOverError> {
        let compare = |what, directory, there: &Option<PathBuf>, here: Option<PathBuf>| match there
        {
            Some(there) if here.as_ref() != Some(there) => Err(self.failure(Obstacle::Elsewhere {
                what,
                directory,
                there: there.display().to_string(),
                here: here.map_or("no directory".to_owned(), |here| here.display().to_string()),
            })),
            _ => Ok(()),
        };
        let there = &self.hand_over;
        compare(
            "lock",
            "runtime",
            &there.runtime_directory,
            lock.directory(),
        )?;
        target.map_or(Ok(()), |file| {
            compare("target", "state", &there.state_directory, file.directory())
        })
    }

    /// Listeners for clients at these addresses, handed over or new, the control socket, and that for load balancers. Both
    /// processes have them until [`Self::retire`].
    /// Fails if one is neither handed over nor free.
    pub fn sockets(
        &mut self,
        addresses: &[Address],
        health: Option<&Address>,
    ) -> Result<[Vec<Listener>; 3], TakeOverError> {
        let mut sockets = std::mem::take(&mut self.sockets);
        let control = sockets.pop();
        let mut sockets = PredecessorSockets(sockets);
        let fail = |error| {
            let there = self.hand_over.listeners.join(", ");
            self.failure(Obstacle::Listen { error, there })
        };
        let listeners = Listener::take_or_bind_all(addresses, &mut sockets).map_err(fail)?;
        let health = health.map(std::slice::from_ref).unwrap_or_default();
        let health = Listener::take_or_bind_all(health, &mut sockets).map_err(fail)?;
        let surplus = sockets.rest().map_err(fail)?;
        let control = control.map(|socket| Listener::of_predecessor(socket, Some(&self.path)));
        let control = control.transpose().map_err(fail)?;
        self.surplus = surplus;
        Ok([listeners, control.into_iter().collect(), health])
    }

    /// Makes the other process stop accepting: from then on clients and callers come here, and its detached clients too
    /// if both recognise `requests` in the same way. Returns the number of connections that are still open there.
    /// Fails if it has not done so; then it continues.
    pub async fn retire(&mut self, requests: Option<RequestKind>) -> Result<usize, TakeOverError> {
        let retired = self.call_retire(requests).await;
        let RetireReply { open, .. } = retired.map_err(|obstacle| self.failure(obstacle))?;
        // Surplus listeners are closed, with their paths.
        for listener in self.surplus.drain(..) {
            listener.own();
            tracing::info!(LISTENER = %listener, "nobody listens on {listener} any more");
        }
        Ok(open)
    }

    async fn call_retire(
        &mut self,
        requests: Option<RequestKind>,
    ) -> Result<RetireReply, Obstacle> {
        let requests = requests.map(|kind| kind.to_string());
        let retire = Call {
            more: true,
            ..method("Retire", RetireParameters { requests })
        };
        call(&mut self.connection, &retire).await?;
        let received = match timeout(ANSWER_TIME, self.connection.receive()).await {
            Ok(received) => received,
            Err(_) => {
                // From here on it cannot retire any more; but it may have done so just now.
                self.connection.shutdown_read();
                self.connection.receive().await
            }
        };
        self.retire_reply(received)
    }

    fn retire_reply(
        &mut self,
        received: Result<Option<Reply>, ReceiveError>,
    ) -> Result<RetireReply, Obstacle> {
        let reply = understand(received)?;
        self.has_more_replies = reply.continues;
        read(&reply)
    }

    /// Follows how the connections of the other process end, and has them cut when a lock forces its
    /// drain. If the connection to that process is closed earlier, they are cut too.
    pub async fn follow(mut self, proxy: Arc<Proxy>) {
        let mut is_cut = false;
        while self.has_more_replies {
            let received = tokio::select! {
                received = self.connection.receive() => received,
                () = proxy.predecessor_is_cut(), if !is_cut => {
                    is_cut = true;
                    self.connection.shutdown_write();
                    continue;
                }
            };
            match self.retire_reply(received) {
                Ok(RetireReply { open, clients }) => {
                    proxy.predecessor_has(open);
                    if clients.is_empty() {
                        // Descriptors that are here already belong to the next reply.
                        continue;
                    }
                    let sockets = self.connection.take_descriptors();
                    // When its connections are cut, it is not told any more, and has its clients back.
                    if !is_cut {
                        self.take_clients(sockets, clients, &proxy).await;
                    }
                }
                Err(_) => break,
            }
        }
        // It has ended, or is no proxy: only what it has handed over is still open.
        proxy.adopt_orphans();
    }

    /// Takes detached clients of the other process. It closes its sockets of them once it knows, and they are left
    /// alone here until it was told.
    async fn take_clients(
        &mut self,
        sockets: Vec<OwnedFd>,
        clients: Vec<PassedClient>,
        proxy: &Proxy,
    ) {
        let room = proxy.admission.read_gate(Gate::room_for_passed);
        let taken = clients.len().min(sockets.len()).min(room);
        let reason = match taken < clients.len() {
            true if taken == room => Some("all places are taken (raise --connections-max)"),
            true => Some("no descriptor is left (raise LimitNOFILE=)"),
            false => None,
        };
        let confirmation = ConfirmParameters {
            taken,
            reason: reason.map(str::to_owned),
        };
        let confirm = Call {
            oneway: true,
            ..method("ConfirmClients", confirmation)
        };
        match call(&mut self.connection, &confirm).await {
            // If it has hung up, it has ended, or has given them up without receiving anything from them.
            Ok(()) | Err(Obstacle::Lost) => {
                proxy.adopt_passed(sockets.into_iter().zip(clients).take(taken));
            }
            Err(_) => {}
        }
    }

    /// Its process number and version, for people.
    pub fn name(&self) -> String {
        let HandOverReply { pid, version, .. } = &self.hand_over;
        format!("process {pid}, version {version}")
    }
}

fn method(name: &str, parameters: impl Serialize) -> Call {
    Call {
        method: qualified(name),
        // It cannot fail: our types have string keys and ordinary numbers.
        parameters: serde_json::to_value(parameters).unwrap_or_default(),
        ..Call::default()
    }
}

async fn call(connection: &mut VarlinkConnection, call: &Call) -> Result<(), Obstacle> {
    match timeout(ANSWER_TIME, connection.send(call)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Obstacle::Lost),
        Err(_) => Err(Obstacle::Silent),
    }
}

/// Returns the reply, unless it is an error.
fn understand(received: Result<Option<Reply>, ReceiveError>) -> Result<Reply, Obstacle> {
    let reply = match received {
        Ok(Some(reply)) => reply,
        Ok(None) | Err(ReceiveError::Lost(_)) => return Err(Obstacle::Lost),
        Err(error) => return Err(foreign(error)),
    };
    let Some(name) = &reply.error else {
        return Ok(reply);
    };
    if *name == format!("{SERVICE_INTERFACE}.MethodNotFound") {
        return Err(Obstacle::TooOld);
    }
    let parameters = &reply.parameters;
    Err(match name.rsplit('.').next().unwrap_or_default() {
        "BeingTakenOver" => {
            let pid = parameters["pid"].as_i64();
            let pid = pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
            Obstacle::Refused(format!(
                "another process{pid} is just taking over from it: wait until that one is ready"
            ))
        }
        "CannotHandOver" => {
            let reason = parameters["reason"].as_str().unwrap_or("?");
            Obstacle::Refused(format!("it cannot hand over its sockets, {reason}"))
        }
        _ => foreign(format!("it answers {name} {parameters}")),
    })
}

fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Obstacle> {
    serde_json::from_value(reply.parameters.clone()).map_err(foreign)
}

fn foreign(reason: impl std::fmt::Display) -> Obstacle {
    Obstacle::Refused(format!(
        "what answers there is no proxy of a version known here ({reason})"
    ))
}
