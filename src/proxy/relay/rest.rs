//! Bytes that were received and not sent.

use std::ops::Range;

use crate::proxy::keep::{BUFFER, Buffer, Flow};

/// Bytes that were received and not sent: a part of a buffer.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) buffer: Buffer,
    pub(super) part: Range<usize>,
}

impl Rest {
    /// Whether there is no room behind the bytes, and [`Self::make_room`] makes none.
    pub(super) fn is_full(&self) -> bool {
        self.part.end == BUFFER && self.part.len() > self.part.start
    }

    /// Moves the bytes to the start of the buffer, if there is room for them before those that are there. Killed at any
    /// moment of it, they are where the flow says.
    pub(super) fn make_room(&mut self, flow: Option<Flow>) {
        let length = self.part.len();
        if length > self.part.start {
            return;
        }
        self.buffer.copy_within(self.part.clone(), 0);
        if let Some(flow) = flow {
            flow.moved(length);
        }
        self.part = 0..length;
    }
}
