//! One direction of a connection: what its thread writes down while it works.
//!
//! A handful of plain stores. A receive or a send is written down before it begins, and its bytes
//! afterwards. If the process dies in between, the next one asks the kernel ([`super::account`]).

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

use super::account::{Act, Balance, Place, Record};
use super::layout::{ACT, BROKEN, FINISHED, INEXACT, RawFlow};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the upstream.
    Up = 0,
    /// From the upstream to the client.
    Down = 1,
}

impl Way {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    raw: &'static RawFlow,
}

impl Flow {
    pub(super) fn new(raw: &'static RawFlow) -> Self {
        Self { raw }
    }

    /// Makes it one in which nothing has happened.
    pub(in crate::proxy::keep) fn clear(self) {
        let raw = self.raw;
        for counter in [&raw.place, &raw.base, &raw.taken, &raw.given] {
            counter.store(0, Release);
        }
        raw.prefix.store(0, Release);
        raw.act.store(0, Release);
    }

    /// `length` bytes of our own are at the start of a buffer or in a pipe, and go to the sink before all
    /// else.
    pub fn prefix(self, place: Place, length: u32) {
        self.raw.place.store(place.word(), Release);
        self.raw.base.store(0, Release);
        self.raw.prefix.store(length, Release);
        self.raw.taken.store(length.into(), Release);
    }

    /// A receive begins, to the start of a buffer or into a pipe. Nothing may be in hand, except in a pipe
    /// that gets more of the same; see also [`Self::receiving_more`].
    #[inline]
    pub fn receiving(self, place: Place) {
        let raw = self.raw;
        raw.place.store(place.word(), Release);
        raw.base.store(raw.taken.load(Relaxed), Release);
        self.begin(Act::Receiving);
    }

    /// A receive begins, to behind the bytes in hand in their buffer.
    pub fn receiving_more(self) {
        self.begin(Act::Receiving);
    }

    /// The `bytes` bytes in hand are at the start of their buffer from now on, and still where they were.
    pub fn moved(self, bytes: usize) {
        let base = self.taken().saturating_sub(bytes as u64);
        self.raw.base.store(base, Release);
    }

    /// The receive is over, and `bytes` bytes came: none at the end, or when it failed.
    #[inline]
    pub fn received(self, bytes: usize) {
        add(&self.raw.taken, bytes);
        self.begin(Act::Idle);
    }

    /// A send begins.
    #[inline]
    pub fn sending(self) {
        self.begin(Act::Sending);
    }

    /// The send is over, and the sink has taken `bytes` bytes.
    #[inline]
    pub fn sent(self, bytes: usize) {
        add(&self.raw.given, bytes);
        self.begin(Act::Idle);
    }

    /// The source has ended, and the sink has got everything. To be called before the sink is shut down: if
    /// the process dies in between, the next one shuts it down.
    ///
    /// (The other way round would leave a socket of which the next process could not distinguish an end in
    /// order from a reset, once the peer has ended it too.)
    pub fn finish(self) {
        self.set(FINISHED);
    }

    /// The kernel's count of the source misleads from now on: it has sent urgent data.
    pub fn inexact(self) {
        self.set(INEXACT);
    }

    /// The source was reset, and the kernel has reported it, which it does once. Nothing is under way any
    /// more.
    pub fn source_broken(self) {
        let flags = self.act() & !ACT;
        self.raw.act.store(flags | BROKEN | INEXACT, Release);
    }

    /// The source was reset: no end comes behind what can still be received. A receive may get the error,
    /// which the kernel reports once.
    pub fn breaks(self) {
        self.set(BROKEN);
    }

    fn act(self) -> u32 {
        self.raw.act.load(Relaxed)
    }

    fn set(self, flag: u32) {
        self.raw.act.store(self.act() | flag, Release);
    }

    #[inline]
    fn begin(self, act: Act) {
        let flags = self.act() & !ACT;
        self.raw.act.store(flags | act as u32, Release);
    }

    /// Bytes that came in, our own among them.
    pub fn taken(self) -> u64 {
        self.raw.taken.load(Relaxed)
    }

    /// Bytes that the sink has got.
    pub fn given(self) -> u64 {
        self.raw.given.load(Relaxed)
    }

    /// The number of our own bytes in front. 0 if the process died while it wrote that down.
    pub fn prefix_length(self) -> u32 {
        let length = self.raw.prefix.load(Relaxed);
        match u64::from(length) <= self.taken() {
            true => length,
            false => 0,
        }
    }

    /// Whether the end was passed on.
    pub fn is_finished(self) -> bool {
        self.act() & FINISHED != 0
    }

    /// Whether something came in, or the end was passed on.
    pub fn has_begun(self) -> bool {
        self.taken() > 0 || self.is_finished()
    }

    /// Whether anything is written down of it, also if it was only half cleared.
    pub(super) fn is_used(self) -> bool {
        let raw = self.raw;
        let [taken, given] = [&raw.taken, &raw.given].map(|count| count.load(Relaxed));
        let rest = [&raw.prefix, &raw.act].map(|word| word.load(Relaxed));
        taken | given != 0 || rest != [0; 2]
    }

    /// Whether bytes of the source are in hand, as far as that is written down.
    pub(in crate::proxy::keep) fn has_in_hand(self) -> bool {
        self.taken() > self.given().max(self.prefix_length().into())
    }

    /// Whether the source was reset.
    pub fn is_broken(self) -> bool {
        self.act() & BROKEN != 0
    }

    pub(in crate::proxy::keep) fn is_inexact(self) -> bool {
        self.act() & INEXACT != 0
    }

    /// All of it; `None` if it makes no sense.
    pub(in crate::proxy::keep) fn record(self) -> Option<Record> {
        Some(Record {
            place: Place::of(self.raw.place.load(Relaxed))?,
            base: self.raw.base.load(Relaxed),
            taken: self.taken(),
            given: self.given(),
            prefix: self.prefix_length(),
            act: Act::of(self.act() & ACT)?,
        })
    }

    /// Writes down what was found out. If that is interrupted, the same is found out again.
    pub(in crate::proxy::keep) fn settle(self, balance: &Balance) {
        self.raw.taken.store(balance.taken, Release);
        self.raw.given.store(balance.given, Release);
        self.begin(Act::Idle);
    }
}

#[inline]
fn add(counter: &AtomicU64, bytes: usize) {
    // Nothing else writes to it.
    let sum = counter.load(Relaxed).wrapping_add(bytes as u64);
    counter.store(sum, Release);
}
