//! Which slots or pipes of the table are free.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The free ones of them.
#[derive(Debug)]
pub(super) struct FreeIndices(Mutex<FreeList>);

#[derive(Debug)]
struct FreeList {
    indices: Vec<u32>,
    /// How many are not free.
    used: u32,
    /// How many may be used at a time.
    most: u32,
}

impl FreeIndices {
    pub(super) fn new(most: u32) -> Self {
        let (indices, used) = (Vec::new(), 0);
        Self(Mutex::new(FreeList {
            indices,
            used,
            most,
        }))
    }

    /// No more may be used at a time from now on.
    pub(super) fn allow(&self, most: u32) {
        self.lock().most = most;
    }

    /// These are free, and no others below `top`.
    pub(super) fn are(&self, indices: Vec<u32>, top: u32) {
        let mut free = self.lock();
        free.used = top - indices.len() as u32;
        free.indices = indices;
    }

    /// Takes a free one, or else the one at `top`, which moves up if there is room for `most`.
    pub(super) fn claim(&self, top: &AtomicU32, most: u32) -> Option<u32> {
        let mut free = self.lock();
        if free.used >= free.most {
            return None;
        }
        // Those that were used last are used first: their memory is there.
        if let Some(index) = free.indices.pop() {
            free.used += 1;
            return Some(index);
        }
        // Under the mutex, so that nobody else moves it.
        let index = top.load(Relaxed);
        if index >= most {
            return None;
        }
        top.store(index + 1, Release);
        free.used += 1;
        Some(index)
    }

    pub(super) fn give_back(&self, index: u32) {
        let mut free = self.lock();
        free.indices.push(index);
        free.used = free.used.saturating_sub(1);
    }

    fn lock(&self) -> MutexGuard<'_, FreeList> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
