//! The connections that one thread carries.

use std::io;
use std::sync::Arc;

use slab::Slab;

use super::open::Open;
use super::post::Post;
use super::token::{CLIENT, GENERATIONS, UPSTREAM, place, token};
use crate::proxy::connections::log;
use crate::proxy::relay::WATCHED;
use crate::service::clock::Uptime;

/// The connections that one thread carries, by their keys. A token names one of them, and no other one that
/// gets its key later.
#[derive(Debug)]
pub(super) struct CarriedConnections {
    post: Arc<Post>,
    open: Slab<Box<Open>>,
    generation: u32,
}

impl CarriedConnections {
    /// None yet; their sockets are watched by the thread of this post.
    pub(super) fn new(post: Arc<Post>) -> Self {
        Self {
            post,
            open: Slab::new(),
            generation: 0,
        }
    }

    /// Adds a connection, and watches its sockets. Returns its key and its token, unless that is not
    /// possible: then it is reset.
    pub(super) fn add(&mut self, mut open: Box<Open>) -> Option<(usize, u64)> {
        self.generation = (self.generation + 1) & (GENERATIONS - 1);
        open.generation = self.generation;
        let key = self.open.insert(open);
        let token = token(key, self.generation);
        if let Err(error) = self.watch(key, token) {
            if let Some(connection) = self.get(key).connection() {
                tracing::error!(
                    CONNECTION_ID = connection.id, PEER = %connection.peer, ERROR = %error,
                    "client {} was given up: its sockets cannot be watched: {error}", connection.peer
                );
            }
            self.reset(key);
            return None;
        }
        Some((key, token))
    }

    fn watch(&self, key: usize, token: u64) -> io::Result<()> {
        let open = self.get(key);
        let (Some(upstream), Some(client)) = (open.upstream(), open.client()) else {
            return Ok(());
        };
        let watch = |socket, side| self.post.poller.add(socket, token | side, WATCHED);
        watch(upstream, UPSTREAM)?;
        watch(client, CLIENT)
    }

    /// The key of the connection with this token, unless it has left.
    pub(super) fn key(&self, token: u64) -> Option<usize> {
        let (key, generation) = place(token);
        let open = self.open.get(key)?;
        (open.generation == generation).then_some(key)
    }

    /// The connection with this key.
    pub(super) fn get(&self, key: usize) -> &Open {
        &self.open[key]
    }

    /// The connection with this key, to be changed.
    pub(super) fn get_mut(&mut self, key: usize) -> &mut Open {
        &mut self.open[key]
    }

    /// Takes out a connection that has ended in order: its sockets are closed next, and need not be watched
    /// until then.
    pub(super) fn take_ended(&mut self, key: usize) -> Box<Open> {
        self.open.remove(key)
    }

    /// Takes out a connection that goes on elsewhere. Its sockets are not watched any more.
    pub(super) fn take(&mut self, key: usize) -> Box<Open> {
        let open = self.open.remove(key);
        for socket in [open.client(), open.upstream()].into_iter().flatten() {
            self.post.poller.remove(socket);
        }
        open
    }

    /// Takes out a connection and resets both sides.
    pub(super) fn reset(&mut self, key: usize) {
        self.take(key).reset_on_close();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The keys of every second one that has carried something since then.
    pub(super) fn half_of_active(&self, since: Uptime) -> Vec<usize> {
        self.keys(|open| !open.is_connecting() && open.is_active(since))
            .step_by(2)
            .collect()
    }

    /// Resets the connections that are to be ended.
    pub(super) fn cut(&mut self) {
        let keys: Vec<usize> = self.keys(Open::must_end).collect();
        for key in keys {
            if let Some(connection) = self.get(key).connection() {
                log::aborted(connection);
                log::ended(connection);
            }
            self.reset(key);
        }
    }

    fn keys(&self, which: impl Fn(&Open) -> bool) -> impl Iterator<Item = usize> {
        self.open
            .iter()
            .filter(move |(_, open)| which(open))
            .map(|(key, _)| key)
    }
}
