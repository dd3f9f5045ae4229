//! The threads that carry, and what of it outlives the process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Proxy;
use crate::proxy::connections::Connection;
use crate::proxy::keep::Keep;
use crate::proxy::workers::{Threads, Workers};
use crate::service::listener::Peer;
use crate::service::program::Failure;

/// What becomes of open connections at the end of the process, if they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Leaving {
    /// They end with it.
    Nothing,
    /// They go on in the next process.
    ToNext,
    /// And the last will becomes that one, if it can.
    ToHeir,
}

impl Proxy {
    /// Begins to carry connections, on so many threads. Nobody is accepted before
    /// [`Self::open_doors`].
    ///
    /// # Errors
    ///
    /// When no thread or descriptor is left.
    pub(in crate::proxy) fn start(self: &Arc<Self>, threads: Threads) -> io::Result<()> {
        let workers = Workers::new(threads)?;
        self.workers.get_or_init(|| workers).start(self)
    }

    /// Begins to accept, whenever the gate lets somebody in.
    pub(in crate::proxy) fn open_doors(&self) {
        let doors = self.workers().doors(self.listeners());
        self.gate().set_doors(doors);
    }

    /// The threads that carry connections.
    pub(in crate::proxy) fn workers(&self) -> &Workers {
        self.workers
            .get()
            .unwrap_or_else(|| unreachable!("nobody is accepted before they are there"))
    }

    /// Ends the threads. What they carry ends with them, unless it is kept and left to the next process;
    /// whether there was something to be left.
    pub(in crate::proxy) fn end(&self, leaving: Leaving) -> bool {
        let stopped = self.workers.get().map(Workers::stop);
        let Some(keep) = self.keep else {
            return false;
        };
        if leaving != Leaving::Nothing && self.open() > 0 {
            self.is_leaving.store(true, Relaxed);
            self.connections.park_all(keep);
            // The heir has also those for whom there was no room, if they are open.
            self.connections.stay_open();
            std::mem::forget(stopped);
            keep.leave(leaving == Leaving::ToHeir);
            return true;
        }
        drop(stopped);
        if let Err(error) = keep.forget() {
            tracing::error!(ERROR = %error, "systemd keeps what nobody needs: {error}");
        }
        false
    }

    /// No descriptors are left.
    pub(in crate::proxy) fn has_no_descriptors(&self) {
        self.handover.shrink();
        self.set_accepting_paused(true);
    }

    /// Nobody is accepted for a while, or is again.
    pub(in crate::proxy) fn set_accepting_paused(&self, paused: bool) {
        self.gate().set_paused(paused);
    }

    /// The process cannot go on, for this reason.
    pub(in crate::proxy) fn fail(&self, sentence: String) {
        if self.failure.set(sentence).is_ok() {
            self.stop_accepting();
            self.woken.notify_one();
        }
    }

    /// Why the process cannot go on.
    pub(in crate::proxy) fn failure(&self) -> Option<Failure> {
        self.failure.get().map(|sentence| sentence.as_str().into())
    }

    /// What the upstream is to hear of a client before its first byte.
    pub(in crate::proxy) fn announcement(&self, connection: &Connection) -> Vec<u8> {
        let Some(protocol) = self.settings.proxy_protocol else {
            return Vec::new();
        };
        let addresses = match connection.peer {
            Peer::Tcp(client) => rustix::net::getsockname(&connection.client)
                .ok()
                .and_then(|local| Some((client, SocketAddr::try_from(local).ok()?))),
            Peer::Unix(_) | Peer::Other => None,
        };
        protocol.header(addresses)
    }

    /// Connections outlive the process.
    pub fn keeps_with(&mut self, keep: Keep) {
        self.keep = Some(keep);
    }

    /// What connections are kept with, if they are.
    pub(in crate::proxy) fn keep(&self) -> Option<Keep> {
        self.keep
    }

    /// The process ends, and its connections go on in the next one.
    pub(in crate::proxy) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// So many connections go on that another process has left.
    pub(in crate::proxy) fn count_restored(&self, count: usize) {
        self.gate().0.adopt(count);
    }

    /// How long a client waits for an upstream.
    pub(in crate::proxy) fn patience(&self) -> Duration {
        self.settings.connect_timeout.unwrap_or(Duration::MAX)
    }
}
