//! The lots: where descriptors are parked.
//!
//! A message in an AF_UNIX socket holds the descriptors that were sent with it (unix(7)), and the
//! sockets are in systemd's store. There are two lots. One of them, the *active*, is parked in. When it is
//! full of ended connections, the other one becomes the active, and the open ones move over there
//! (`recycle`). So at every moment each of them is in one of the lots.
//!
//! A lot is one direction of several socketpairs, the other lot the other direction.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use rustix::io::Errno;

use super::budget::Budget;
use super::message::LotEntry;
use super::queue::{self, LotMessage, SocketPair};
use crate::proxy::keep::table::layout::PAIRS;
use crate::service::rights::DESCRIPTORS_MAX;

/// The most messages in a queue. Looking at all of them takes a time that grows with their square.
const MESSAGES_MAX: usize = 512;

/// One of the two lots: 0 or 1.
pub type LotSide = usize;

#[derive(Debug)]
pub struct Lots {
    pairs: [SocketPair; PAIRS],
    /// Messages in each queue.
    counts: [[AtomicUsize; PAIRS]; 2],
    /// The queue that has room. The order of the queues is the order of time.
    current: [AtomicUsize; 2],
    /// Descriptors in each lot.
    descriptors: [AtomicUsize; 2],
    pub budget: Budget,
    /// How often they were recycled.
    pub round: u64,
    /// How many more are not parked before recycling is tried again.
    pub refusals: usize,
}

/// Why something was not parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The lot is full.
    Full,
    /// There are too many descriptors in the lots, or the user has too many in flight elsewhere.
    TooMany,
    /// One of them is not open, or something else.
    Because(Errno),
}

/// What something is parked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It is new.
    Parking,
    /// It was in the other lot. For this there is always room for one more message.
    Recycling,
}

impl Lots {
    pub fn new(pairs: [SocketPair; PAIRS], budget: Budget) -> Self {
        Self {
            pairs,
            counts: Default::default(),
            current: Default::default(),
            descriptors: Default::default(),
            budget,
            round: 0,
            refusals: 0,
        }
    }

    /// The sockets, for the store.
    pub fn parts(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.iter().flatten().map(AsFd::as_fd)
    }

    pub fn send(
        &self,
        side: LotSide,
        entries: &[LotEntry],
        descriptors: &[RawFd],
        occasion: Occasion,
    ) -> Result<(), Refusal> {
        let count = descriptors.len();
        let most = match occasion {
            Occasion::Parking => self.budget.parked,
            Occasion::Recycling => self.budget.parked + self.budget.message.max(DESCRIPTORS_MAX),
        };
        // Of two threads that add at the same time both may be refused, though there is room for one.
        self.descriptors[side].fetch_add(count, SeqCst);
        let result = match self.descriptors() > most {
            true => Err(Refusal::TooMany),
            false => self.send_to_queue(side, entries, descriptors, occasion),
        };
        if result.is_err() {
            self.descriptors[side].fetch_sub(count, SeqCst);
        }
        result
    }

    fn send_to_queue(
        &self,
        side: LotSide,
        entries: &[LotEntry],
        descriptors: &[RawFd],
        occasion: Occasion,
    ) -> Result<(), Refusal> {
        let (first, most) = match occasion {
            // The rest of the room is for what is still in the other lot.
            Occasion::Parking if self.messages(1 - side) > 0 => {
                (self.current[side].load(Relaxed), MESSAGES_MAX / 4 * 3)
            }
            Occasion::Parking => (self.current[side].load(Relaxed), MESSAGES_MAX),
            // Nothing in this lot is about the same connections.
            Occasion::Recycling => (0, MESSAGES_MAX),
        };
        for queue in first..PAIRS {
            let count = &self.counts[side][queue];
            // A later message about the same slot must not go into an earlier queue.
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

    pub fn descriptors(&self) -> usize {
        let counts = self.descriptors.iter();
        counts.map(|count| count.load(SeqCst)).sum()
    }

    pub fn messages_in(&self, side: LotSide, queue: usize) -> usize {
        self.counts[side][queue].load(Relaxed)
    }

    pub fn messages(&self, side: LotSide) -> usize {
        let counts = self.counts[side].iter();
        counts.map(|count| count.load(Relaxed)).sum()
    }

    /// Throws away the oldest message of a queue, which came with `descriptors` descriptors.
    pub fn throw_away(&self, side: LotSide, queue: usize, descriptors: usize) {
        let count = &self.counts[side][queue];
        let total = &self.descriptors[side];
        if !queue::throw_away(self.pairs[queue][1 - side].as_fd()) {
            count.store(0, Relaxed);
            return;
        }
        count.fetch_sub(1, Relaxed);
        total.fetch_sub(descriptors.min(total.load(SeqCst)), SeqCst);
        if self.messages(side) == 0 {
            self.current[side].store(0, Relaxed);
            total.store(0, SeqCst);
        }
    }

    /// Shows `each` what the messages of a queue say, from the oldest on, until it returns false.
    pub fn look_ahead(
        &self,
        side: LotSide,
        queue: usize,
        each: impl FnMut(Vec<LotEntry>) -> bool,
    ) -> Result<(), Errno> {
        queue::look_ahead(self.pairs[queue][1 - side].as_fd(), each)
    }

    /// Looks at everything that is in a lot, and leaves it there.
    pub fn look(&self, side: LotSide, mut each: impl FnMut(LotMessage)) -> Result<(), Errno> {
        let mut total = 0;
        for (queue, (pair, count)) in self.pairs.iter().zip(&self.counts[side]).enumerate() {
            let messages = queue::look(pair[1 - side].as_fd(), &mut |message: LotMessage| {
                total += message.descriptors.len();
                each(message);
            })?;
            count.store(messages, Relaxed);
            if messages > 0 {
                self.current[side].store(queue, Relaxed);
            }
        }
        self.descriptors[side].store(total, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
