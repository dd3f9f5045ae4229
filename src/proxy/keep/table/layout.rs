//! What the table looks like in memory: the part that another version has to understand.
//!
//! Only integers, each of them atomic, so that a valid value is left whenever a process is killed. Stores
//! are made with `Release`, which keeps the compiler from changing their order; nothing else is needed. A
//! process that is killed has done its stores up to some point of its program and none after it, as a
//! thread that a signal interrupts; and the process that reads them has learnt of the death from the
//! kernel.

use std::mem::size_of;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, Release},
};

use super::mapping::Shared;

/// The first bytes of a table.
pub const MAGIC: u64 = u64::from_le_bytes(*b"kept-tcp");

/// The version of everything in this file, and of the messages in the lots (`message`). What another
/// version has left is only closed.
pub const VERSION: u32 = 3;

/// Bytes of a buffer.
pub const BUFFER: usize = 64 * 1024;

/// The most pipes that can be kept at a time.
pub const PIPES: usize = 4096;

/// The most descriptors that the last will can mark; more than `fs.nr_open` allows.
pub const DESCRIPTORS: usize = 1 << 20;

/// Socketpairs for the lots: each of them holds a queue of either lot, one in each direction.
pub const PAIRS: usize = 4;

/// The longest text that a slot has room for, in bytes.
pub const TEXT: usize = 120;

/// Descriptors in the store: the two memory files, and the ends of all socketpairs.
pub const PARTS: usize = 2 + 2 * PAIRS + 2;

/// The process ends in order: its will is not needed.
pub const OVER: u32 = 1;

/// The process ends in order and has parked what it could: its will is needed as the heir.
pub const LEFT: u32 = 2;

/// The head of the table.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    /// Bytes of a slot.
    pub slot_bytes: AtomicU32,
    /// Slots that there is room for.
    pub slots: AtomicU32,
    /// Buffers that there is room for.
    pub buffers: AtomicU32,
    /// Slots from this number on were never used.
    pub top: AtomicU32,
    /// The lot that is parked in, of the two. What is in the other one is older.
    pub active: AtomicU32,
    /// Whether the process ends in order: [`OVER`], [`LEFT`] or 0.
    pub orderly: AtomicU32,
    /// Pipes from this number on were never used.
    pub pipes_top: AtomicU32,
    /// The inodes of the descriptors in the store, the table's own aside.
    pub parts: [AtomicU64; PARTS - 1],
    /// Since when the process serves, in microseconds since boot; 0 before. Only its will reads it.
    pub serves_since: AtomicU64,
    /// There were more connections than slots: some were carried and are not in the table.
    pub crowded: AtomicU32,
}

/// A connection. Messages in the lots refer to it by its index in the table.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct RawSlot {
    pub state: StateWord,
    /// Descriptor numbers in the process that has it, client's and upstream's.
    pub client: AtomicU32,
    pub upstream: AtomicU32,
    /// Whether the client was the last to send: not 0.
    pub awaits_reply: AtomicU64,
    /// The caller's: where the connection is in its requests.
    pub requests: [AtomicU64; 3],
    /// From the client to the upstream, and back. (What changes while bytes are carried ends here: two lines of the
    /// processor's cache.)
    pub flows: [RawFlow; 2],
    /// When it was accepted, in microseconds since boot.
    pub accepted: AtomicU64,
    /// The connection's number.
    pub id: AtomicU64,
    /// A number of the caller's.
    pub note: AtomicU64,
    /// Bytes that had been received from the client, and sent to it, when the present upstream began: as the kernel counts
    /// them, if it does.
    pub bases: [AtomicU64; 2],
    /// Bytes of a request among our own bytes in front: it is sent again.
    pub repeated: AtomicU64,
    /// Length of the text.
    pub text_length: AtomicU64,
    /// A text of the caller's: where it leads.
    pub text: [AtomicU64; TEXT / 8],
}

#[repr(C)]
#[derive(Debug)]
pub struct RawFlow {
    /// Where bytes in hand are: [`super::account::Place`].
    pub place: AtomicU64,
    /// Which byte of the stream is the first in there.
    pub base: AtomicU64,
    /// Bytes that came in: our own in front, and those received.
    pub taken: AtomicU64,
    /// Bytes that the sink has got.
    pub given: AtomicU64,
    /// How many of our own were put in front.
    pub prefix: AtomicU32,
    /// What is under way, and what is over: [`ACT`], [`FINISHED`], [`INEXACT`], [`BROKEN`].
    pub act: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
pub struct RawPipe {
    pub state: StateWord,
    /// Descriptor numbers of its ends.
    pub read: AtomicU32,
    pub write: AtomicU32,
}

// SAFETY: `repr(C)` structs of atomics and arrays of them.
unsafe impl Shared for Header {}
// SAFETY: as above; a `StateWord` is an atomic.
unsafe impl Shared for RawSlot {}
// SAFETY: as above.
unsafe impl Shared for RawPipe {}

const _: () = assert!(size_of::<RawSlot>() == 320 && size_of::<Header>() <= HEADER);

/// The part of a flow's `act` that says what is under way.
pub const ACT: u32 = 3;
/// The source's end has been passed on to the sink.
pub const FINISHED: u32 = 1 << 8;
/// The kernel's count of the source is not to be trusted: urgent data came.
pub const INEXACT: u32 = 1 << 9;
/// The source was reset, and the process has learnt it, or was about to.
pub const BROKEN: u32 = 1 << 10;

/// Room for the header.
const HEADER: usize = 4096;
/// Where the will marks descriptors, one bit each.
pub const MARKS_AT: usize = HEADER;
/// Where the pipes are.
pub const PIPES_AT: usize = MARKS_AT + DESCRIPTORS / 8;
/// Where the slots are: last, so that there can be more of them one day.
pub const SLOTS_AT: usize = PIPES_AT + PIPES * size_of::<RawPipe>();

/// Bytes of a table with `slots` slots.
pub const fn table_bytes(slots: usize) -> usize {
    SLOTS_AT + slots * size_of::<RawSlot>()
}

/// What has become of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing uses it.
    Free = 0,
    /// It is in use, and empty.
    Claimed = 1,
    /// A client without an upstream: nothing was received from it or sent to it, or its upstream was ended between
    /// two requests.
    Accepted = 2,
    /// A client and its upstream.
    Connected = 3,
    /// A client whose handover has begun, and may be complete.
    InHandover = 4,
    /// A client that another process serves.
    HandedOver = 5,
    /// It is being ended; no process continues it.
    Ending = 6,
}

impl Phase {
    fn new(number: u8) -> Option<Self> {
        use Phase::*;
        let all = [
            Free, Claimed, Accepted, Connected, InHandover, HandedOver, Ending,
        ];
        all.into_iter().find(|phase| *phase as u8 == number)
    }

    /// Whether there is a client in it that lives on.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Free | Self::Claimed | Self::Ending)
    }
}

/// In a state word: see [`State::parked`].
const PARKED: u64 = 1 << 8;

/// The state of a slot or a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How often it was claimed: it distinguishes the messages of this use from those of earlier ones.
    pub generation: u32,
    /// Whether its descriptors are in the lot.
    pub parked: bool,
    pub phase: Phase,
}

impl State {
    /// Reads a word. A number that is no phase becomes [`Phase::Ending`].
    fn of(word: u64) -> Self {
        Self {
            generation: (word >> 32) as u32,
            parked: word & PARKED != 0,
            phase: Phase::new(word as u8).unwrap_or(Phase::Ending),
        }
    }

    fn word(self) -> u64 {
        let parked = if self.parked { PARKED } else { 0 };
        u64::from(self.generation) << 32 | parked | self.phase as u64
    }
}

/// A [`State`] in the table, the first word of a slot or a pipe.
#[repr(transparent)]
#[derive(Debug)]
pub struct StateWord(AtomicU64);

impl StateWord {
    pub fn load(&self) -> State {
        State::of(self.0.load(Relaxed))
    }

    pub fn store(&self, state: State) {
        self.0.store(state.word(), Release);
    }

    /// Marks it as parked, and leaves the rest as it is.
    pub fn set_parked(&self) {
        self.0.fetch_or(PARKED, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for phase in (0..=6).filter_map(Phase::new) {
            for (generation, parked) in [(0, false), (1, true), (u32::MAX, true)] {
                let state = State {
                    generation,
                    parked,
                    phase,
                };
                assert_eq!(State::of(state.word()), state);
            }
        }
        assert_eq!(State::of(77).phase, Phase::Ending);
        assert_eq!(State::of(0).phase, Phase::Free);
    }
}
