//! What keeping connections needs to know.

use std::os::fd::BorrowedFd;

/// How much room is needed, and the listeners of the clients.
#[derive(Clone, Debug)]
pub struct KeepOptions<'a> {
    /// The most connections that are kept at a time. (There may be room for fewer:
    /// [`super::Keep::connections`].)
    pub connections: u32,
    /// The most buffers in use at a time.
    pub buffers: u32,
    /// The sockets that clients connect to.
    pub listeners: Vec<BorrowedFd<'a>>,
    /// The last will has started this process, see [`super::heir_of`].
    pub is_heir: bool,
}
