//! What became of the connections that an earlier process has left.

use std::os::fd::OwnedFd;

use crate::proxy::keep::parking::ParkedPipe;
use crate::proxy::keep::table::account::Unclear;
use crate::proxy::keep::table::{Buffer, Slot};

/// A connection that goes on.
#[derive(Debug)]
pub struct Restored {
    /// Its slot, which has its number, its age and its text.
    pub slot: Slot,
    /// The client.
    pub client: OwnedFd,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a connection has come.
#[derive(Debug)]
pub enum Stage {
    /// It was accepted. Nothing was received or sent.
    Accepted,
    /// It was about to be handed over: the slot's note tells whether it was.
    Handing,
    /// It was handed over.
    Handed,
    /// It has an upstream.
    Connected {
        /// The upstream.
        upstream: OwnedFd,
        /// From the client to the upstream, and back.
        flows: [RestoredFlow; 2],
    },
}

/// One direction of a connection that goes on. How much has gone through is in the slot.
#[derive(Debug)]
pub struct RestoredFlow {
    /// Bytes that came in and were not given to the sink yet.
    pub in_hand: InHand,
    /// The source's end was passed on to the sink.
    pub finished: bool,
    /// The source was reset, and will not say so again.
    pub source_broken: bool,
}

/// Where bytes in hand are.
#[derive(Debug)]
pub enum InHand {
    /// There are none.
    Nothing,
    /// In this part of the buffer.
    Buffer(Buffer, std::ops::Range<usize>),
    /// All that is in the pipe: so many.
    Pipe(ParkedPipe, usize),
}

/// A connection that could not go on, and was reset.
#[derive(Debug)]
pub struct GivenUp {
    /// Its number.
    pub id: u64,
    /// Its text.
    pub text: String,
    /// Why; `None` if its sockets were not found: they had not been parked (yet).
    pub why: Option<Unclear>,
}

impl GivenUp {
    pub(super) fn new(slot: Slot, why: Option<Unclear>) -> Self {
        Self {
            id: slot.id(),
            text: slot.text(),
            why,
        }
    }
}
