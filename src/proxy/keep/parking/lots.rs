//! The lots: where descriptors are parked, so that they stay open whatever happens to the process.
//!
//! A message in an AF_UNIX socket holds the descriptors that were sent with it (unix(7)), and the
//! sockets are in systemd's store. There are two lots. One of them, the *active*, is the one that is
//! parked in. When it is full of what has ended, the other one becomes the active, and what lives moves
//! over to there (`recycle`). So at every moment everybody is in one of them.
//!
//! A lot is one direction of several socketpairs, the other lot the other direction.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use rustix::io::Errno;

use super::budget::Budget;
use super::message::{DESCRIPTORS_MAX, LotEntry};
use super::queue::{self, SeenMessage, SocketPair};
use crate::proxy::keep::table::layout::PAIRS;

/// The most messages in a queue. Looking at what is in one takes a time that grows with its square.
const MESSAGES_MAX: usize = 512;

/// Which lot.
pub type LotSide = usize;

/// Both lots.
#[derive(Debug)]
pub struct Lots {
    pairs: [SocketPair; PAIRS],
    counts: [[AtomicUsize; PAIRS]; 2],
    /// The queue that has room. The order of the queues is the order of time.
    current: [AtomicUsize; 2],
    /// Descriptors in them.
    held: [AtomicUsize; 2],
    budget: Budget,
    /// How often they were recycled.
    pub round: u64,
    /// So many more are not parked before recycling is tried again.
    pub refusals: usize,
}

/// Why something was not parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The lot is full.
    Full,
    /// There are too many descriptors in the lots, or the user has too many on their way otherwise.
    TooMany,
    /// One of them is not open, or something else.
    Because(Errno),
}

/// What something is parked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It is new.
    Parking,
    /// It was in the other lot. For this there is always room for a message more.
    Recycling,
}

impl Lots {
    pub fn new(pairs: [SocketPair; PAIRS], budget: Budget) -> Self {
        Self {
            pairs,
            counts: Default::default(),
            current: Default::default(),
            held: Default::default(),
            budget,
            round: 0,
            refusals: 0,
        }
    }

    /// The sockets, for the store.
    pub fn parts(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.iter().flatten().map(AsFd::as_fd)
    }

    /// Parks the descriptors that these entries are about.
    pub fn send(
        &self,
        side: LotSide,
        entries: &[LotEntry],
        descriptors: &[RawFd],
        purpose: Occasion,
    ) -> Result<(), Refusal> {
        let count = descriptors.len();
        // What others add at the same time may be refused though there is room for one of both.
        self.held[side].fetch_add(count, SeqCst);
        let sent = match self.held() > self.descriptors_max(purpose) {
            true => Err(Refusal::TooMany),
            false => self.send_anyway(side, entries, descriptors, purpose),
        };
        if sent.is_err() {
            self.held[side].fetch_sub(count, SeqCst);
        }
        sent
    }

    fn send_anyway(
        &self,
        side: LotSide,
        entries: &[LotEntry],
        descriptors: &[RawFd],
        purpose: Occasion,
    ) -> Result<(), Refusal> {
        let most = self.messages_max(side, purpose);
        let first = match purpose {
            Occasion::Parking => self.current[side].load(Relaxed),
            // What is in here already is about others.
            Occasion::Recycling => 0,
        };
        for queue in first..PAIRS {
            let count = &self.counts[side][queue];
            // Whatever else is parked in here of the same slot comes later.
            self.current[side].fetch_max(queue, Relaxed);
            if count.load(Relaxed) < most {
                match queue::send(self.pairs[queue][side].as_fd(), entries, descriptors) {
                    Ok(()) => {
                        count.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                    Err(Errno::AGAIN) => {}
                    Err(Errno::TOOMANYREFS) => return Err(Refusal::TooMany),
                    Err(errno) => return Err(Refusal::Because(errno)),
                }
            }
        }
        Err(Refusal::Full)
    }

    fn descriptors_max(&self, purpose: Occasion) -> usize {
        match purpose {
            Occasion::Parking => self.budget.parked,
            Occasion::Recycling => self.budget.parked + self.budget.message.max(DESCRIPTORS_MAX),
        }
    }

    /// As long as something is left in the other lot, there has to be room for it in this one.
    fn messages_max(&self, side: LotSide, purpose: Occasion) -> usize {
        match purpose {
            Occasion::Parking if self.messages(1 - side) > 0 => MESSAGES_MAX / 4 * 3,
            _ => MESSAGES_MAX,
        }
    }

    /// Descriptors in both lots.
    pub fn held(&self) -> usize {
        self.held.iter().map(|held| held.load(SeqCst)).sum()
    }

    /// Messages in a queue of a lot.
    pub fn messages_in(&self, side: LotSide, queue: usize) -> usize {
        self.counts[side][queue].load(Relaxed)
    }

    /// Messages in a lot.
    pub fn messages(&self, side: LotSide) -> usize {
        self.counts[side]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }

    /// Throws away the oldest message of a queue, with which so many descriptors have come. Without room
    /// for them they are closed.
    pub fn throw_away(&self, side: LotSide, queue: usize, descriptors: usize) {
        let count = &self.counts[side][queue];
        let held = &self.held[side];
        if !queue::throw_away(self.pairs[queue][1 - side].as_fd()) {
            count.store(0, Relaxed);
            return;
        }
        count.fetch_sub(1, Relaxed);
        held.fetch_sub(descriptors.min(held.load(SeqCst)), SeqCst);
        if self.messages(side) == 0 {
            self.current[side].store(0, Relaxed);
            held.store(0, SeqCst);
        }
    }

    /// Tells what the messages of a queue say, from the oldest one on, while `each` wants more of them.
    pub fn look_ahead(
        &self,
        side: LotSide,
        queue: usize,
        each: impl FnMut(Vec<LotEntry>) -> bool,
    ) -> Result<(), Errno> {
        queue::look_ahead(self.pairs[queue][1 - side].as_fd(), each)
    }

    /// Looks at everything that is in a lot, and leaves it there.
    pub fn look(&self, side: LotSide, mut each: impl FnMut(SeenMessage)) -> Result<(), Errno> {
        let mut held = 0;
        for (queue, (pair, count)) in self.pairs.iter().zip(&self.counts[side]).enumerate() {
            let seen = queue::look(pair[1 - side].as_fd(), &mut |message: SeenMessage| {
                held += message.descriptors.len();
                each(message);
            })?;
            count.store(seen, Relaxed);
            if seen > 0 {
                self.current[side].store(queue, Relaxed);
            }
        }
        self.held[side].store(held, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
