//! What the rest of the process knows of a thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::carried_connection::CarriedConnection;
use super::load::Load;
use super::token::INBOX;
use crate::service::inbox::Inbox;
use crate::service::poller::{Flags, Poller};

/// A message to a thread.
#[derive(Debug)]
pub(super) enum Message {
    Carry(Box<CarriedConnection>),
    /// End the connections that are to be ended.
    Cut,
    /// End the connections that have carried nothing for this time.
    CloseIdle(Duration),
    /// Detach the connections that are between two requests and have carried nothing for this time.
    Detach(Duration),
    /// Pass the detached clients on, and the others as soon as they are detached.
    PassOn,
    /// Detached clients that have spoken may have upstreams now. This number of threads gets the message.
    Attach(usize),
    /// A client of the queue has left while the runtime connected it.
    Returned,
    /// End the connections of detached clients.
    EndDetached,
    /// Show that the loop turns.
    Echo,
    /// Another process accepts now.
    Retire,
    Stop,
}

/// How to reach a thread, and how busy it is.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    pub(super) poller: Arc<Poller>,
    pub(super) inbox: Inbox<Message>,
    pub(super) load: Load,
}

impl WorkerHandle {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let handle = Self {
            poller: Arc::new(Poller::new()?),
            inbox: Inbox::new()?,
            load: Load::default(),
        };
        handle.poller.add(&handle.inbox, INBOX, Flags::IN)?;
        Ok(Arc::new(handle))
    }
}
