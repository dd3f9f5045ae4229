//! Memory for bytes in hand: buffers that outlive the process, or ordinary ones.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::layout::BUFFER;
use super::mapping::Mapping;

/// So many buffers keep their memory while nobody uses them.
const WARM: usize = 16;

/// All buffers. They lie side by side, by number, and cost memory while they are used.
#[derive(Debug)]
pub struct Buffers {
    mapping: Mapping,
    free: Mutex<FreeBuffers>,
    /// What is in the buffers belongs to the next process.
    left: AtomicBool,
}

#[derive(Debug)]
struct FreeBuffers {
    /// Those whose memory is there.
    warm: Vec<u32>,
    cold: Vec<u32>,
    /// Those from this number on were never used.
    top: u32,
    count: u32,
}

/// A buffer. When it is dropped, somebody else gets it.
///
/// So do not drop it while a slot says that bytes in hand are in there.
pub struct Buffer {
    pool: &'static Buffers,
    number: u32,
}

impl Buffers {
    /// Buffers in a memory file, all of them free.
    pub(in crate::proxy::keep) fn shared(file: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        Ok(Self::of(
            Mapping::shared(file, count as usize * BUFFER)?,
            count,
        ))
    }

    /// Buffers that end with the process.
    ///
    /// # Errors
    ///
    /// When the address space is limited to less.
    pub fn private(count: u32) -> io::Result<Self> {
        Ok(Self::of(Mapping::private(count as usize * BUFFER)?, count))
    }

    fn of(mapping: Mapping, count: u32) -> Self {
        Self {
            mapping,
            free: Mutex::new(FreeBuffers {
                warm: Vec::new(),
                cold: Vec::new(),
                top: 0,
                count,
            }),
            left: AtomicBool::new(false),
        }
    }

    /// A free one; `None` if there is none. What is in there is not defined.
    pub fn take(&'static self) -> Option<Buffer> {
        let mut free = self.lock();
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

    /// Those that are in use; call it once, before any is taken. The memory of the others is given
    /// back.
    pub(in crate::proxy::keep) fn adopt(&'static self, mut used: Vec<u32>) -> Option<Vec<Buffer>> {
        used.sort_unstable();
        used.dedup();
        let mut free = self.lock();
        let top = used.last().map_or(0, |last| last + 1);
        if top > free.count {
            return None;
        }
        free.top = top;
        let mut next = 0;
        for number in &used {
            free.cold.extend(next..*number);
            self.clear(next, *number);
            next = number + 1;
        }
        self.clear(next, free.count);
        let buffers = used.into_iter();
        Some(
            buffers
                .map(|number| Buffer { pool: self, number })
                .collect(),
        )
    }

    /// Gives the memory of the buffers `from` up to `to` back.
    fn clear(&self, from: u32, to: u32) {
        let length = (to - from) as usize * BUFFER;
        if length > 0 {
            // SAFETY: nobody has a `Buffer` of these numbers.
            unsafe { self.mapping.clear(from as usize * BUFFER, length) };
        }
    }

    /// What is in the buffers stays there, whoever is dropped from now on.
    pub(in crate::proxy::keep) fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    fn give_back(&self, number: u32) {
        if self.left.load(Relaxed) {
            return;
        }
        let mut free = self.lock();
        if free.warm.len() < WARM {
            free.warm.push(number);
        } else {
            self.clear(number, number + 1);
            free.cold.push(number);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FreeBuffers> {
        self.free
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Buffer {
    /// Its number, which is its name in a slot.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: there is one `Buffer` of this number at a time, and it is borrowed.
        unsafe {
            self.pool
                .mapping
                .bytes(self.number as usize * BUFFER, BUFFER)
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: there is one `Buffer` of this number at a time, and it is borrowed mutably.
        unsafe {
            self.pool
                .mapping
                .bytes(self.number as usize * BUFFER, BUFFER)
        }
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
    use std::os::fd::AsFd;

    fn leak(buffers: Buffers) -> &'static Buffers {
        Box::leak(Box::new(buffers))
    }

    #[test]
    fn each_is_given_to_one_at_a_time() {
        let pool = leak(Buffers::private(2).unwrap());
        let (mut one, two) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        one[0] = 7;
        assert_eq!((two[0], one.len()), (0, BUFFER));
        drop(two);
        assert_eq!(pool.take().unwrap().number(), 1);
    }

    #[test]
    fn what_is_in_use_is_there_for_the_next_one_and_the_rest_is_empty() {
        let file = memory_file("test", 4 * BUFFER).unwrap();
        let pool = leak(Buffers::shared(file.as_fd(), 4).unwrap());
        for (index, mut buffer) in (0..4).map(|_| pool.take().unwrap()).enumerate() {
            buffer.fill(index as u8 + 1);
            pool.leave();
        }
        let next = leak(Buffers::shared(file.as_fd(), 4).unwrap());
        let adopted = next.adopt(vec![2, 0, 2]).unwrap();
        let first: Vec<(u32, u8)> = adopted
            .iter()
            .map(|b| (b.number(), b[BUFFER - 1]))
            .collect();
        assert_eq!(first, [(0, 1), (2, 3)]);
        let free: Vec<Buffer> = (0..2).map(|_| next.take().unwrap()).collect();
        assert!(free.iter().all(|buffer| buffer[5] == 0) && next.take().is_none());
        assert!(
            leak(Buffers::shared(file.as_fd(), 4).unwrap())
                .adopt(vec![4])
                .is_none()
        );
    }

    #[test]
    fn those_that_nobody_uses_cost_no_memory_but_for_a_few() {
        let file = memory_file("test", 64 * BUFFER).unwrap();
        let pool = leak(Buffers::shared(file.as_fd(), 64).unwrap());
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
