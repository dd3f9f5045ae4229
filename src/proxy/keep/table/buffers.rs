//! Memory for bytes in hand: buffers that outlive the process, or ordinary ones.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::layout::BUFFER;
use super::mapping::Mapping;
use crate::service::mutex;

/// Free buffers that keep their memory.
const WARM: usize = 16;

/// All buffers. They lie side by side, by number, and cost memory while they are used.
#[derive(Debug)]
pub struct Buffers {
    mapping: Mapping,
    free: Mutex<FreeBuffers>,
    /// The content of the buffers belongs to the next process.
    left: AtomicBool,
}

#[derive(Debug, Default)]
struct FreeBuffers {
    /// Buffers that have their memory.
    warm: Vec<u32>,
    cold: Vec<u32>,
    /// Buffers from this number on were never used.
    top: u32,
    count: u32,
}

/// A buffer. Dropping it frees it, so it must not be dropped while a slot says that it has bytes in hand.
pub struct Buffer {
    pool: &'static Buffers,
    number: u32,
}

impl Buffers {
    /// How many bytes `count` buffers have.
    pub fn length(count: u32) -> usize {
        count as usize * BUFFER
    }

    /// Buffers in a memory file, all of them free.
    pub(in crate::proxy::keep) fn shared(file: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let mapping = Mapping::shared(file, Self::length(count))?;
        Ok(Self::of(mapping, count))
    }

    /// Buffers that end with the process.
    ///
    /// # Errors
    ///
    /// When the address space is limited to less.
    pub fn private(count: u32) -> io::Result<Self> {
        let mapping = Mapping::private(Self::length(count))?;
        Ok(Self::of(mapping, count))
    }

    fn of(mapping: Mapping, count: u32) -> Self {
        let free = FreeBuffers::default();
        Self {
            mapping,
            free: Mutex::new(FreeBuffers { count, ..free }),
            left: AtomicBool::new(false),
        }
    }

    /// A free buffer, with any content; `None` if there is none.
    pub fn take(&'static self) -> Option<Buffer> {
        let mut free = mutex::lock(&self.free);
        let number = match free.warm.pop().or_else(|| free.cold.pop()) {
            Some(number) => number,
            None if free.top < free.count => {
                free.top += 1;
                free.top - 1
            }
            None => return None,
        };
        Some(Buffer { pool: self, number })
    }

    /// The buffers in use; to be called once, before any is taken. The memory of the others is given back.
    /// `None` if a number is too large.
    pub(in crate::proxy::keep) fn adopt(
        &'static self,
        mut numbers: Vec<u32>,
    ) -> Option<Vec<Buffer>> {
        numbers.sort_unstable();
        numbers.dedup();
        let mut free = mutex::lock(&self.free);
        let top = numbers.last().map_or(0, |last| last + 1);
        if top > free.count {
            return None;
        }
        free.top = top;
        let mut next = 0;
        for number in &numbers {
            free.cold.extend(next..*number);
            self.clear(next, *number);
            next = number + 1;
        }
        self.clear(next, free.count);
        let buffers = numbers.into_iter();
        let buffers = buffers.map(|number| Buffer { pool: self, number });
        Some(buffers.collect())
    }

    /// Gives the memory of the buffers `from` up to `to` back.
    fn clear(&self, from: u32, to: u32) {
        let length = (to - from) as usize * BUFFER;
        if length > 0 {
            // SAFETY: there is no `Buffer` of these numbers.
            unsafe { self.mapping.clear(from as usize * BUFFER, length) };
        }
    }

    /// From now on, dropping a buffer leaves its content to the next process.
    pub(in crate::proxy::keep) fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    fn give_back(&self, number: u32) {
        if self.left.load(Relaxed) {
            return;
        }
        let mut free = mutex::lock(&self.free);
        if free.warm.len() < WARM {
            free.warm.push(number);
        } else {
            self.clear(number, number + 1);
            free.cold.push(number);
        }
    }
}

impl Buffer {
    /// Its number, by which a slot refers to it.
    pub fn number(&self) -> u32 {
        self.number
    }

    fn offset(&self) -> usize {
        self.number as usize * BUFFER
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: there is one `Buffer` of this number at a time, and it is borrowed.
        unsafe { self.pool.mapping.bytes(self.offset(), BUFFER) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: there is one `Buffer` of this number at a time, and it is borrowed mutably.
        unsafe { self.pool.mapping.bytes(self.offset(), BUFFER) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(self.number);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::keep::table::mapping::memory_file;
    use std::os::fd::{AsFd, OwnedFd};

    fn shared(file: &OwnedFd, count: u32) -> &'static Buffers {
        Box::leak(Box::new(Buffers::shared(file.as_fd(), count).unwrap()))
    }

    #[test]
    fn each_has_one_owner_at_a_time() {
        let pool = Box::leak(Box::new(Buffers::private(2).unwrap()));
        let (mut one, two) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        one[0] = 7;
        assert_eq!((two[0], one.len()), (0, BUFFER));
        drop(two);
        assert_eq!(pool.take().unwrap().number(), 1);
    }

    #[test]
    fn the_next_process_finds_those_in_use_and_the_rest_is_empty() {
        let file = memory_file("test", 4 * BUFFER).unwrap();
        let pool = shared(&file, 4);
        for (index, mut buffer) in (0..4).map(|_| pool.take().unwrap()).enumerate() {
            buffer.fill(index as u8 + 1);
            pool.leave();
        }
        let next = shared(&file, 4);
        let adopted = next.adopt(vec![2, 0, 2]).unwrap();
        let first: Vec<(u32, u8)> = adopted
            .iter()
            .map(|b| (b.number(), b[BUFFER - 1]))
            .collect();
        assert_eq!(first, [(0, 1), (2, 3)]);
        let free: Vec<Buffer> = (0..2).map(|_| next.take().unwrap()).collect();
        assert!(free.iter().all(|buffer| buffer[5] == 0) && next.take().is_none());
        assert!(shared(&file, 4).adopt(vec![4]).is_none());
    }

    #[test]
    fn free_ones_cost_no_memory_but_for_a_few() {
        let file = memory_file("test", 64 * BUFFER).unwrap();
        let pool = shared(&file, 64);
        let mut all: Vec<Buffer> = (0..64).map(|_| pool.take().unwrap()).collect();
        for buffer in &mut all {
            buffer.fill(1);
        }
        let blocks = || rustix::fs::fstat(&file).unwrap().st_blocks as usize * 512;
        assert_eq!(blocks(), 64 * BUFFER);
        drop(all);
        assert_eq!(blocks(), WARM * BUFFER);
    }
}
