//! A request that goes to the next upstream, because the last one did not answer it.

use crate::proxy::keep::{BUFFER, Buffer, HeldRequest, Keep, Slot};

/// The bytes of a request, to be sent again; none if there is no request.
#[derive(Debug, Default)]
pub struct UnansweredRequest(Option<Box<RequestBytes>>);

#[derive(Debug)]
enum RequestBytes {
    Own(Vec<u8>),
    /// At the start of a buffer that outlives the process. It is dropped after the slot has ceased to refer to it.
    Kept {
        buffer: Buffer,
        length: u16,
        /// How it was recognised ([`HeldRequest::kind`]): an earlier process may have told requests of another kind apart.
        kind: u8,
    },
}

impl UnansweredRequest {
    /// One that this process has recognised. If the connection is kept, `keep` says with what, and as which kind.
    pub fn new(bytes: Vec<u8>, keep: Option<(Keep, u8)>) -> Self {
        let buffer = keep.and_then(|(keep, _)| keep.buffers().take());
        let kind = keep.map_or(0, |(_, kind)| kind);
        let request = match (buffer, u16::try_from(bytes.len())) {
            (Some(mut buffer), Ok(length)) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                RequestBytes::Kept {
                    buffer,
                    length,
                    kind,
                }
            }
            _ => RequestBytes::Own(bytes),
        };
        Self(Some(Box::new(request)))
    }

    /// The one that an earlier process has left.
    pub fn restored(buffer: Buffer, length: usize, kind: u8) -> Self {
        let length = length.min(BUFFER - 1) as u16;
        Self(Some(Box::new(RequestBytes::Kept {
            buffer,
            length,
            kind,
        })))
    }

    /// Whether an earlier process has left it that has recognised requests in another way.
    pub fn is_of_other_kind(&self, own: u8) -> bool {
        let request = self.0.as_deref();
        matches!(request, Some(RequestBytes::Kept { kind, .. }) if *kind != own)
    }

    pub fn bytes(&self) -> &[u8] {
        match self.0.as_deref() {
            None => &[],
            Some(RequestBytes::Own(bytes)) => bytes,
            Some(RequestBytes::Kept { buffer, length, .. }) => &buffer[..usize::from(*length)],
        }
    }

    /// Writes it down: from now on it outlives the process, if it is in a buffer.
    pub fn hold(&self, slot: Slot, attempts: u8) {
        let (buffer, length, kind) = match self.0.as_deref() {
            Some(RequestBytes::Kept {
                buffer,
                length,
                kind,
            }) => (buffer.number(), *length, *kind),
            _ => (HeldRequest::NO_BUFFER, 0, 0),
        };
        slot.hold_request(HeldRequest {
            buffer,
            length,
            attempts,
            kind,
        });
    }
}
