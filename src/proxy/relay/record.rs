//! Receiving and sending so that, if the process is killed, the next one knows the number of bytes.

use rustix::io::Errno;

use super::ready::Receipt;
use crate::proxy::keep::Flow;
use crate::proxy::keep::account::Place;

/// Receives to this place, and writes down that it does, and the number of bytes.
#[inline]
pub(super) fn receive(
    flow: Option<Flow>,
    place: Place,
    receive: impl FnOnce() -> Result<Receipt, Errno>,
) -> Result<Receipt, Errno> {
    if let Some(flow) = flow {
        flow.receiving(place);
    }
    complete(flow, receive)
}

/// The same, to behind the bytes in hand.
pub(super) fn receive_more(
    flow: Option<Flow>,
    receive: impl FnOnce() -> Result<Receipt, Errno>,
) -> Result<Receipt, Errno> {
    if let Some(flow) = flow {
        flow.receiving_more();
    }
    complete(flow, receive)
}

#[inline]
fn complete(
    flow: Option<Flow>,
    receive: impl FnOnce() -> Result<Receipt, Errno>,
) -> Result<Receipt, Errno> {
    let receipt = receive();
    let Some(flow) = flow else {
        return receipt;
    };
    match receipt {
        Ok(Receipt { bytes, .. }) => flow.received(bytes),
        // The source has nothing, or cannot be spliced.
        Err(Errno::AGAIN | Errno::INTR | Errno::INVAL) => flow.received(0),
        Err(_) => flow.source_broken(),
    }
    receipt
}

/// Sends, and writes down that it does, and the number of bytes.
#[inline]
pub(super) fn send(
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
        // The kernel has reported that the sink is broken, and will not do so again. It stays written down
        // that a send is under way, so that the next process checks.
        Err(_) => {}
    }
    sent
}
