//! What the rest of the process knows of a thread.

use std::io;
use std::sync::Arc;

use super::load::Load;
use super::open::Open;
use super::token::INBOX;
use crate::service::inbox::Inbox;
use crate::service::poller::{Flags, Poller};

/// A message to a thread.
#[derive(Debug)]
pub(super) enum Message {
    /// Carry this connection.
    Carry(Box<Open>),
    /// End the connections that are to be ended.
    Cut,
    /// Show that the loop turns.
    Echo,
    /// Another process accepts now.
    Retire,
    /// End.
    Stop,
}

/// Where a thread is reached, and how busy it is.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) poller: Poller,
    pub(super) inbox: Inbox<Message>,
    pub(super) load: Load,
}

impl Post {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let post = Self {
            poller: Poller::new()?,
            inbox: Inbox::new()?,
            load: Load::default(),
        };
        post.poller.add(&post.inbox, INBOX, Flags::IN)?;
        Ok(Arc::new(post))
    }
}
