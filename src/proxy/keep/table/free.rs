//! Which slots or pipes of the table are free.

use std::sync::Mutex;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, Release},
};

use crate::service::mutex;

#[derive(Debug)]
pub(super) struct FreeIndices(Mutex<FreeList>);

#[derive(Debug, Default)]
struct FreeList {
    indices: Vec<u32>,
    /// How many are in use.
    used: u32,
    /// How many may be in use at a time.
    most: u32,
}

impl FreeIndices {
    pub(super) fn new(most: u32) -> Self {
        let list = FreeList::default();
        Self(Mutex::new(FreeList { most, ..list }))
    }

    /// Sets how many may be in use at a time.
    pub(super) fn allow(&self, most: u32) {
        mutex::lock(&self.0).most = most;
    }

    /// Below `top`, these are free and no others.
    pub(super) fn set(&self, indices: Vec<u32>, top: u32) {
        let mut free = mutex::lock(&self.0);
        free.used = top - indices.len() as u32;
        free.indices = indices;
    }

    /// Takes a free one, or else the one at `top`, which moves up as far as `most`.
    pub(super) fn claim(&self, top: &AtomicU32, most: u32) -> Option<u32> {
        let mut free = mutex::lock(&self.0);
        if free.used >= free.most {
            return None;
        }
        // The one that was freed last is used first: its memory is there.
        let index = match free.indices.pop() {
            Some(index) => index,
            None => {
                // The mutex keeps other threads from moving it.
                let index = top.load(Relaxed);
                if index >= most {
                    return None;
                }
                top.store(index + 1, Release);
                index
            }
        };
        free.used += 1;
        Some(index)
    }

    pub(super) fn give_back(&self, index: u32) {
        let mut free = mutex::lock(&self.0);
        free.indices.push(index);
        free.used = free.used.saturating_sub(1);
    }
}
