//! A client, and the process that serves it.

use std::io;
use std::os::fd::AsFd;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use super::command::ClientCommand;
use super::process_end::ProcessEnd;
use crate::service::child_process;
use crate::service::client_socket::ClientSocket;
use crate::service::ending;
use crate::service::listener::{Arrival, Peer};
use crate::service::places::ClientPlace;

/// A client that was received.
pub(super) struct ReceivedClient {
    peer: Peer,
    // Dropped in this order: it is closed before its place is free.
    socket: ClientSocket,
    place: ClientPlace,
}

/// A client whose process runs. Dropping this cuts both off.
struct RunningProcess {
    /// The process and what it has started, until it has ended.
    group: Option<Pid>,
    client: ReceivedClient,
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have ended just now. One that goes on has no client any more.
            let _ = kill_process_group(group, Signal::TERM);
            ending::end_by_reset(&self.client.socket);
        }
    }
}

impl ReceivedClient {
    pub(super) fn new(Arrival { socket, peer, .. }: Arrival, place: ClientPlace) -> Self {
        Self {
            peer,
            socket,
            place,
        }
    }

    /// Starts the process that serves the client; the client counts until that has ended. If it cannot be started,
    /// returns the client, from which nothing was received, and the reason.
    pub(super) fn serve(self, command: &ClientCommand) -> Result<(), (Self, io::Error)> {
        let program = &mut command.for_client(&self.peer);
        let child = match child_process::start(program, self.socket.as_fd()) {
            Ok(child) => child,
            Err(error) => return Err((self, error)),
        };
        let name = command.name();
        let number = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (id, peer) = (self.place.id, &self.peer);
        tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id}: {peer}, for {name}");
        let process = RunningProcess {
            group: number,
            client: self,
        };
        tokio::spawn(process.attend(child, name));
        Ok(())
    }

    /// Leaves the client to the process that has handed it over, which hands it over again.
    pub(super) fn give_back(self) {
        self.socket.give_back();
    }
}

impl RunningProcess {
    /// Waits for the end of the process. Then the connection ends, in whatever state the process has left it.
    async fn attend(mut self, mut child: Child, name: String) {
        let ended = child.wait().await;
        self.group = None;
        let (id, peer) = (self.client.place.id, &self.client.peer);
        match ended.map(ProcessEnd::from) {
            Ok(end) if end.is_success() => {
                tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id} of {peer}: {name} {end}");
            }
            Ok(end) => {
                tracing::info!(CONNECTION_ID = id, PEER = %peer, "connection {id} of {peer}: {name} {end}");
            }
            Err(error) => {
                tracing::warn!(
                    CONNECTION_ID = id, PEER = %peer, ERROR = %error,
                    "connection {id} of {peer}: the end of {name} is not known: {error}"
                );
            }
        }
    }
}
