//! The slots, their pipes, and the tokens that are ready.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::pipe_directory::PipeDirectory;
use super::slots::Slots;
use crate::proxy::admission::AdmittedClient;

/// Everything that changes when a client is handed over or a connection ends.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    pub(super) slots: Slots<AdmittedClient>,
    /// The reading ends.
    pub(super) reads: BTreeMap<u32, OwnedFd>,
    /// Made with the first slot.
    pub(super) pipes: Option<PipeDirectory>,
    /// The tokens for the next clients.
    pub(super) next: Vec<Token>,
}

/// A token that is still ours, and its slot.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) number: u32,
    pub(super) write: OwnedFd,
}

impl SlotTable {
    pub(super) fn give_back(&mut self, token: Token) {
        // The slot first, so that it is free when its pipe hangs up.
        self.slots.give_back(token.number);
        drop(token.write);
    }

    pub(super) fn discard(&mut self, numbers: &[u32]) {
        for number in numbers {
            // Closing it ends the watching too: there is no other descriptor of it, epoll(7).
            self.reads.remove(number);
            if let Some(pipes) = &self.pipes {
                pipes.remove(*number);
            }
        }
    }
}
