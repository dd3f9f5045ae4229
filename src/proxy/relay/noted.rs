//! Receiving and sending so that, if the process is killed, the next one knows how much it was.

use rustix::io::Errno;

use super::ready::Received;
use crate::proxy::keep::Flow;
use crate::proxy::keep::account::Place;

/// Receives to this place; writes down that it does, and how much it was.
#[inline]
pub(super) fn take(
    flow: Option<Flow>,
    place: Place,
    receive: impl FnOnce() -> Result<Received, Errno>,
) -> Result<Received, Errno> {
    let Some(flow) = flow else {
        return receive();
    };
    flow.receiving(place);
    let received = receive();
    match received {
        Ok(Received { bytes, .. }) => flow.received(bytes),
        // The source has nothing, or cannot be spliced.
        Err(Errno::AGAIN | Errno::INTR | Errno::INVAL) => flow.received(0),
        Err(_) => flow.source_broken(),
    }
    received
}

/// Sends; writes down that it does, and how much it was.
#[inline]
pub(super) fn give(
    flow: Option<Flow>,
    send: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let Some(flow) = flow else {
        return send();
    };
    flow.sending();
    let sent = send();
    match sent {
        Ok(bytes) => flow.sent(bytes),
        Err(Errno::AGAIN | Errno::INTR) => flow.sent(0),
        // The kernel has told that the sink is broken, and will not say so again. It stays written down
        // that a send is under way, so that the next process looks.
        Err(_) => {}
    }
    sent
}
