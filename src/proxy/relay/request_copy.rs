//! The copy of a request, to be sent again if its upstream is lost before the reply.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes that all copies may have together: clients that ask much and get no reply would fill the memory.
const ALL_MAX: usize = 32 * 1024 * 1024;

/// The number of bytes that all copies may still take.
static LEFT: AtomicUsize = AtomicUsize::new(ALL_MAX);

/// Copies that are not used now, in the boxes in which connections have them.
type CopyPool = Vec<Box<RequestCopy>>;

thread_local! {
    /// The last one that was used is the first to be used again, while the processor has it in its cache.
    static POOL: RefCell<CopyPool> = const { RefCell::new(Vec::new()) };
}

/// How many unused copies a thread keeps. With fewer than there are requests under way, most requests would need an
/// allocation. They take half a mebibyte of each thread.
const POOL_MAX: usize = 1024;

/// A request that has begun, and the copy of it, if it is short enough to be sent again.
#[derive(Debug, Default)]
pub(super) struct RequestCopy {
    /// The bytes that the first look has let pass of the request.
    length: u64,
    bytes: CopiedBytes,
    /// Whether it grows with what is received.
    is_growing: bool,
}

impl RequestCopy {
    /// One of the thread's.
    pub(super) fn of_pool() -> Box<Self> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// It is not needed any more.
    pub(super) fn give_back(mut self: Box<Self>) {
        self.forget();
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOL_MAX {
                pool.push(self);
            }
        });
    }

    /// A request of this length begins. These bytes are all that is copied of it.
    pub(super) fn begin(&mut self, length: u64, bytes: &[u8]) {
        self.forget();
        self.length = length;
        self.bytes.extend(bytes);
    }

    /// A request of this length begins with these bytes, and grows.
    pub(super) fn begin_growing(&mut self, length: u64, bytes: &[u8]) {
        self.begin(length, bytes);
        self.is_growing = true;
    }

    /// The bytes that the first look has let pass.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// These bytes were received, `None` if they have not passed through memory.
    pub(super) fn received(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            _ if !self.is_growing => {}
            Some(bytes) => self.bytes.extend(bytes),
            None => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.is_growing = false;
    }

    /// Reduces it to the first `length` bytes. Returns whether it has them.
    pub(super) fn reduce_to(&mut self, length: u64) -> bool {
        if (self.bytes.len() as u64) < length {
            return false;
        }
        self.bytes.truncate(length as usize);
        true
    }

    /// The bytes.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.take()
    }
}

/// Short copies do not count, and keep their memory for the next request, in bytes.
const SHORT: usize = 512;

/// Bytes that count among those of all copies.
#[derive(Debug, Default)]
struct CopiedBytes(Vec<u8>);

impl CopiedBytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of `length` bytes count.
    fn counted(length: usize) -> usize {
        if length > SHORT { length } else { 0 }
    }

    /// Adds these bytes. Without room for them it is empty afterwards.
    fn extend(&mut self, bytes: &[u8]) {
        let length = self.len() + bytes.len();
        let more = Self::counted(length) - Self::counted(self.len());
        let less = |left: usize| left.checked_sub(more);
        if more == 0 || LEFT.fetch_update(Relaxed, Relaxed, less).is_ok() {
            self.0.extend_from_slice(bytes);
        } else {
            self.clear();
        }
    }

    /// Keeps the first bytes.
    fn truncate(&mut self, length: usize) {
        let length = length.min(self.len());
        self.release(Self::counted(self.len()) - Self::counted(length));
        self.0.truncate(length);
    }

    fn clear(&mut self) {
        match self.0.capacity() > SHORT {
            true => drop(self.take()),
            false => self.0.clear(),
        }
    }

    /// Takes all bytes out.
    fn take(&mut self) -> Vec<u8> {
        self.release(Self::counted(self.len()));
        std::mem::take(&mut self.0)
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            LEFT.fetch_add(bytes, Relaxed);
        }
    }
}

impl Drop for CopiedBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_together_have_a_limit_and_what_is_over_makes_room() {
        let part = vec![b'x'; ALL_MAX / 4];
        let copies: Vec<_> = (0..4)
            .map(|_| {
                let mut copy = CopiedBytes::default();
                copy.extend(&part);
                copy
            })
            .collect();
        // Other tests may have some, too.
        let mut one = CopiedBytes::default();
        one.extend(&part);
        assert_eq!((one.len(), one.0.capacity()), (0, 0));
        drop(copies);
        one.extend(&part);
        one.truncate(7);
        assert_eq!(one.take().len(), 7);
        assert_eq!((one.len(), one.0.capacity()), (0, 0));
    }

    #[test]
    fn a_short_copy_keeps_its_memory_and_a_long_one_does_not() {
        let mut copy = CopiedBytes::default();
        copy.extend(&[b'x'; SHORT]);
        copy.clear();
        assert_eq!((copy.len(), copy.0.capacity()), (0, SHORT));
        copy.extend(&[b'x'; SHORT]);
        copy.extend(b"x");
        copy.clear();
        assert_eq!((copy.len(), copy.0.capacity()), (0, 0));
    }

    #[test]
    fn a_copy_that_is_used_again_has_nothing_of_the_request_before() {
        let mut copy = RequestCopy::of_pool();
        copy.begin_growing(9, b"before");
        copy.give_back();
        let mut copy = RequestCopy::of_pool();
        assert!(
            copy.bytes.0.capacity() > 0,
            "it is the one that was given back"
        );
        copy.begin(3, b"now");
        copy.received(Some(b" and then"));
        assert_eq!(copy.length(), 3);
        assert!(!copy.reduce_to(4) && copy.reduce_to(2));
        assert_eq!(copy.into_bytes(), b"no");
    }

    #[test]
    fn a_thread_keeps_a_limited_number_of_copies() {
        let copies: Vec<_> = (0..=POOL_MAX).map(|_| RequestCopy::of_pool()).collect();
        { copies }.into_iter().for_each(RequestCopy::give_back);
        assert_eq!(POOL.with_borrow(Vec::len), POOL_MAX);
    }
}
