//! The sockets at which clients of a server arrive.

use std::path::PathBuf;

use crate::service::activation::Inherited;
use crate::service::address::Address;
use crate::service::binding;
use crate::service::listener::Listener;
use crate::service::program::Failure;
use crate::service::timespan::TimeSpan;

/// The `FileDescriptorName=` of sockets to which clients are handed over.
const HANDOVER_NAME: &str = "handover";

/// The sockets at which clients of a server arrive: listening sockets, and handover sockets.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Takes sockets from systemd, as [`activation::inherited`](crate::service::activation::inherited) returns them:
    /// `ListenStream=` for clients that connect to the service itself, and `ListenDatagram=` with
    /// `FileDescriptorName=handover` for those that a proxy hands over. Several of both are possible.
    ///
    /// # Errors
    ///
    /// When a handover socket, or all of the others, are of another kind; the error is a sentence.
    pub fn inherited(sockets: Vec<Inherited>) -> Result<Self, Failure> {
        let (handovers, others): (Vec<Inherited>, Vec<Inherited>) = sockets
            .into_iter()
            .partition(|socket| socket.name == HANDOVER_NAME);
        let mut listeners = Listener::inherit_all(others)?;
        for socket in handovers {
            listeners.push(Listener::inherited_handover(socket.fd)?);
        }
        Ok(Self(listeners))
    }

    /// Listens at addresses, and makes handover sockets at paths: without systemd. While one is in use, by the version
    /// before perhaps, waits for up to `patience`. A server with such sockets never exits for lack of use.
    ///
    /// # Errors
    ///
    /// For the first that is in use, forbidden or unknown; the error is a sentence.
    pub async fn bind(
        addresses: &[Address],
        handovers: &[PathBuf],
        patience: TimeSpan,
    ) -> Result<Self, Failure> {
        let mut listeners = binding::bind_all(addresses, patience).await?;
        for path in handovers {
            listeners.push(binding::bind_handover(path, patience).await?);
        }
        Ok(Self(listeners))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<Listener> {
        self.0
    }
}
