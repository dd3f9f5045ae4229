//! What a server does with a client.

use std::io;

use super::client::ServedClient;

/// What a server does with a client. All clients share it, so it also has what they have in common.
pub trait ClientHandler: Send + Sync + 'static {
    /// Serves one client, in a task of its own. When it returns, the connection is closed: in order, unless the client
    /// has sent bytes that were not received. When the server ends before that, or this panics, the connection is
    /// reset, so that nobody takes a part of an answer for the whole.
    ///
    /// # Errors
    ///
    /// When the connection is broken. That is logged with the level `debug` and does not concern other clients.
    fn handle(&self, client: &ServedClient) -> impl Future<Output = io::Result<()>> + Send;
}
