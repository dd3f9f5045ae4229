//! What became of the connections that an earlier process has left.

use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::proxy::keep::parking::ParkedPipe;
use crate::proxy::keep::table::account::Unclear;
use crate::proxy::keep::table::{Buffer, Slot};

/// A connection that continues.
#[derive(Debug)]
pub struct RestoredConnection {
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
    /// It has no upstream, and its next one gets a request first.
    Held {
        /// Where the request is.
        request: Buffer,
        /// Its bytes.
        length: usize,
        /// How many upstreams did not answer it.
        attempts: u8,
        /// How the earlier process has recognised it ([`HeldRequest::kind`](crate::proxy::keep::HeldRequest::kind)).
        kind: u8,
    },
    /// Its handover had begun: the slot's note shows whether it was completed.
    InHandover,
    /// It was handed over.
    HandedOver,
    /// It has an upstream.
    Connected {
        /// The upstream.
        upstream: OwnedFd,
        /// From the client to the upstream, and back.
        flows: [RestoredFlow; 2],
    },
}

/// One direction of a connection that continues. Its counts of bytes are in the slot.
#[derive(Debug)]
pub struct RestoredFlow {
    /// Bytes that came in and were not given to the sink yet.
    pub in_hand: InHand,
    /// The source's end was passed on to the sink.
    pub finished: bool,
    /// The source was reset, which the kernel does not report again.
    pub source_broken: bool,
}

/// Where bytes in hand are.
#[derive(Debug)]
pub enum InHand {
    /// There are none.
    None,
    /// In this part of the buffer.
    Buffer(Buffer, Range<usize>),
    /// In the pipe, which has this many and no others.
    Pipe(ParkedPipe, usize),
}

/// A connection that could not continue, and was reset.
#[derive(Debug)]
pub struct LostConnection {
    /// Its number.
    pub id: u64,
    /// Its text.
    pub text: String,
    /// Why; `None` if its sockets were not found: they had not been parked (yet).
    pub why: Option<Unclear>,
}

impl LostConnection {
    pub(super) fn new(slot: Slot, why: Option<Unclear>) -> Self {
        Self {
            id: slot.id(),
            text: slot.text(),
            why,
        }
    }
}
