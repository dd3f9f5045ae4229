//! An upstream that a connection leads to.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::begun::Upstream;
use crate::proxy::loops::Noted;
use crate::service::address::Address;

/// Where a connection leads.
#[derive(Debug)]
pub struct Connected {
    /// Dropped before the socket is closed: its address may be another's from then on.
    _noted: Option<Noted>,
    /// The upstream's socket.
    pub socket: OwnedFd,
    /// The target that it was reached by.
    pub target: Arc<Address>,
}

impl Connected {
    /// A socket that leads to this target.
    pub fn new(Upstream { noted, socket }: Upstream, target: Arc<Address>) -> Self {
        Self {
            _noted: noted,
            socket,
            target,
        }
    }
}
