//! When to copy and when to splice: the decisions of one direction, without I/O.
//!
//! Copying through a buffer is cheapest for small messages, splicing through a pipe for bulk. Both need two
//! calls; splicing copies nothing, but the pipe's bookkeeping costs more than copying a few kilobytes. A
//! message that fills the whole buffer is bulk.
//!
//! On a kept connection, if the kernel does not count the bytes of its sockets, everything is spliced: what is
//! in a pipe can be counted after a kill, so that it is known how far each byte has come.

/// The fewest bytes between two waits for the source with which a direction continues splicing.
pub(super) const BULK: usize = 32 * 1024;

/// The bytes that are spliced at once at first, and to a slow sink: they stay in the pipe, which is memory.
const REACH: usize = 256 * 1024;

/// The most bytes that are spliced at once, to a sink that takes everything: the more, the fewer calls.
pub(super) const REACH_MAX: usize = 1024 * 1024;

/// What a direction attempts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Receive into the buffer, and send what was received.
    Receive,
    /// Send what is left of what was received.
    Send,
    /// Splice from the source into a pipe, which is empty.
    Fill,
    /// Splice from the pipe to the sink.
    Drain,
    /// End the sink, because the source has ended.
    Finish,
}

/// Where the bytes are that were received and not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BytesInHand {
    None,
    InMemory(usize),
    InPipe(usize),
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    in_hand: BytesInHand,
    is_bulk: bool,
    /// Whether everything is spliced, also small messages.
    is_always_bulk: bool,
    /// Whether these two sockets can be spliced.
    can_splice: bool,
    source_ended: bool,
    /// Bytes since the last wait for the source.
    carried: usize,
    /// Whether there was bulk before that.
    has_carried_bulk: bool,
    /// The most bytes that are spliced at once.
    reach: usize,
}

impl Switch {
    /// Nothing was carried yet.
    pub(super) fn new() -> Self {
        Self {
            in_hand: BytesInHand::None,
            is_bulk: false,
            is_always_bulk: false,
            can_splice: true,
            source_ended: false,
            carried: 0,
            has_carried_bulk: false,
            reach: REACH,
        }
    }

    /// As [`Self::new`], for a direction whose bytes can only be counted in a pipe.
    pub(super) fn by_pipe() -> Self {
        Self {
            is_bulk: true,
            is_always_bulk: true,
            ..Self::new()
        }
    }

    /// Whether everything is spliced that can be.
    pub(super) fn is_by_pipe(&self) -> bool {
        self.is_always_bulk && self.can_splice
    }

    /// Whether much has come before the last wait for the source or since, spliced or not.
    pub(super) fn carries_bulk(&self) -> bool {
        self.has_carried_bulk || self.carried >= BULK
    }

    /// What to attempt now.
    pub(super) fn next(&self) -> Next {
        match self.in_hand {
            BytesInHand::InMemory(_) => Next::Send,
            BytesInHand::InPipe(_) => Next::Drain,
            BytesInHand::None if self.source_ended => Next::Finish,
            BytesInHand::None if self.is_bulk => Next::Fill,
            BytesInHand::None => Next::Receive,
        }
    }

    /// `bytes` came into the buffer, as many as it holds if it is `full`; 0 means the end.
    pub(super) fn received(&mut self, bytes: usize, full: bool) {
        debug_assert_eq!(self.next(), Next::Receive);
        match bytes {
            0 => self.ended(),
            _ => self.in_hand = BytesInHand::InMemory(bytes),
        }
        self.carried += bytes;
        self.is_bulk = self.can_splice && (full || self.is_always_bulk);
    }

    /// `bytes` came into the buffer, behind those in hand.
    pub(super) fn received_more(&mut self, bytes: usize) {
        if let BytesInHand::InMemory(in_hand) = &mut self.in_hand {
            *in_hand += bytes;
        }
        self.carried += bytes;
    }

    /// `bytes` are in the buffer at the beginning.
    pub(super) fn begins_in_memory(&mut self, bytes: usize) {
        self.in_hand = BytesInHand::InMemory(bytes);
    }

    /// `bytes` are in a pipe at the beginning.
    pub(super) fn begins_in_pipe(&mut self, bytes: usize) {
        self.is_bulk = true;
        self.filled(bytes);
    }

    /// The most bytes that may come into the pipe.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// `bytes` came into the pipe, at least one.
    pub(super) fn filled(&mut self, bytes: usize) {
        debug_assert_eq!(self.next(), Next::Fill);
        debug_assert_ne!(bytes, 0, "a receive finds the end");
        if bytes >= self.reach {
            self.reach = (2 * self.reach).min(REACH_MAX);
        }
        self.in_hand = BytesInHand::InPipe(bytes);
        self.carried += bytes;
    }

    /// A receive has found the end.
    pub(super) fn ended(&mut self) {
        debug_assert_eq!(self.in_hand, BytesInHand::None);
        self.source_ended = true;
    }

    /// The sink took `bytes`. Returns the number of bytes that are left.
    pub(super) fn gave(&mut self, bytes: usize) -> usize {
        let (BytesInHand::InMemory(left) | BytesInHand::InPipe(left)) = &mut self.in_hand else {
            debug_assert_eq!(bytes, 0, "no bytes are in hand");
            return 0;
        };
        debug_assert!(bytes <= *left);
        *left = left.saturating_sub(bytes);
        let left = *left;
        if left == 0 {
            self.in_hand = BytesInHand::None;
        }
        left
    }

    /// The number of bytes that were received and not sent.
    pub(super) fn in_hand(&self) -> usize {
        match self.in_hand {
            BytesInHand::None => 0,
            BytesInHand::InMemory(bytes) | BytesInHand::InPipe(bytes) => bytes,
        }
    }

    /// The number of bytes in the pipe.
    pub(super) fn in_pipe(&self) -> usize {
        match self.in_hand {
            BytesInHand::InPipe(bytes) => bytes,
            BytesInHand::None | BytesInHand::InMemory(_) => 0,
        }
    }

    /// The source has nothing now.
    pub(super) fn waits_for_source(&mut self) {
        debug_assert_eq!(self.in_hand, BytesInHand::None);
        self.has_carried_bulk = std::mem::take(&mut self.carried) >= BULK;
        self.is_bulk &= self.has_carried_bulk;
        self.is_bulk |= self.is_by_pipe();
    }

    /// The sink takes nothing now.
    pub(super) fn waits_for_sink(&mut self) {
        debug_assert_ne!(self.in_hand, BytesInHand::None);
        self.reach = REACH;
    }

    /// The next bytes are copied: there is no pipe now, or splicing has stopped before them.
    pub(super) fn copies_next(&mut self) {
        debug_assert_eq!(self.next(), Next::Fill);
        self.is_bulk = false;
    }

    /// These two sockets cannot be spliced: all bytes are copied from now on.
    pub(super) fn cannot_splice(&mut self) {
        self.copies_next();
        self.can_splice = false;
    }
}

#[cfg(test)]
mod tests;
