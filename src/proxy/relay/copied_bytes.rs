//! The bytes of a copy of a request, to be sent again if its upstream is lost before the reply.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes that all copies may have together: clients that ask much and get no reply would fill the memory.
const ALL_MAX: usize = 32 * 1024 * 1024;

/// The number of bytes that all copies may still take.
static LEFT: AtomicUsize = AtomicUsize::new(ALL_MAX);

/// The copy of a request. While it is empty it has no memory.
#[derive(Debug, Default)]
pub(super) struct CopiedBytes(Vec<u8>);

impl CopiedBytes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds these bytes. Without room for them it is empty afterwards.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let less = |left: usize| left.checked_sub(bytes.len());
        match LEFT.fetch_update(Relaxed, Relaxed, less) {
            Ok(_) => self.0.extend_from_slice(bytes),
            Err(_) => self.clear(),
        }
    }

    /// Keeps the first bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        let rest = self.len().saturating_sub(length);
        LEFT.fetch_add(rest, Relaxed);
        self.0.truncate(length);
    }

    pub(super) fn clear(&mut self) {
        drop(self.take());
    }

    /// Takes all bytes out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        LEFT.fetch_add(self.len(), Relaxed);
        std::mem::take(&mut self.0)
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
}
