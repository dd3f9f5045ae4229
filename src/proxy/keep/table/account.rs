//! What the state of a direction is when its process has died at any moment (pure).
//!
//! A process writes down what it is about to do, does it, and writes down the number of bytes. It does one
//! thing at a time, so the record is exact except for the one act that was under way; and how much of that
//! was done, the kernel knows. What contradicts itself is never guessed at: [`Unclear`].
//!
//! Positions are those of the stream that the sink gets: first our own bytes (the *prefix*), then what
//! was received.

use super::layout::BUFFER;

/// Where bytes in hand are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In no place yet.
    #[default]
    None,
    /// In this buffer.
    Buffer(u32),
    /// In this pipe.
    Pipe(u32),
}

impl Place {
    /// Reads a word of the table; `None` if it makes no sense.
    pub(super) fn of(word: u64) -> Option<Self> {
        let number = word as u32;
        match word >> 32 {
            0 if number == 0 => Some(Self::None),
            1 => Some(Self::Buffer(number)),
            2 => Some(Self::Pipe(number)),
            _ => None,
        }
    }

    /// Its word in the table.
    pub(super) fn word(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Buffer(number) => 1 << 32 | u64::from(number),
            Self::Pipe(number) => 2 << 32 | u64::from(number),
        }
    }
}

/// What was under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Act {
    /// No operation.
    #[default]
    Idle = 0,
    /// A receive, into the place.
    Receiving = 1,
    /// A send, from there.
    Sending = 2,
}

impl Act {
    pub(super) fn of(number: u32) -> Option<Self> {
        use Act::*;
        let all = [Idle, Receiving, Sending];
        all.into_iter().find(|act| *act as u32 == number)
    }
}

/// What is written down of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where bytes in hand are, or will be when the act is over.
    pub place: Place,
    /// The position of the first byte in the buffer.
    pub base: u64,
    /// Bytes that came in, the prefix among them.
    pub taken: u64,
    /// Bytes that the sink got.
    pub given: u64,
    /// Bytes of our own in front.
    pub prefix: u32,
    /// What was under way.
    pub act: Act,
}

/// What the kernel says; asked after the process has died, when nothing moves our bytes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Bytes that were received from the source; `None` if it does not know.
    pub received: Option<u64>,
    /// Bytes that were sent to the sink; `None` if it does not know.
    pub sent: Option<u64>,
    /// The sink takes nothing any more: it has had everything, or was reset.
    pub sink_is_over: bool,
    /// Bytes in the pipe, if the place is one, and it is there.
    pub piped: Option<u64>,
}

/// What the counts are, now that nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Bytes that came in.
    pub taken: u64,
    /// Bytes that the sink got.
    pub given: u64,
    /// The bytes that came in and were not given; `None` if there are none.
    pub in_hand: Option<HeldBytes>,
}

/// Bytes in hand: part of a buffer, or all that is in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBytes {
    /// Where they are.
    pub place: Place,
    /// The offset of the first of them.
    pub from: usize,
    /// Their number.
    pub length: usize,
}

/// Why the state of a connection is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// The kernel does not count what was under way.
    #[error("how much of the last transfer was done is not known")]
    Uncounted,
    /// What is written down and what the kernel says cannot both be true.
    #[error("the counts of bytes contradict each other")]
    Contradiction,
    /// Bytes in hand are in no place.
    #[error("bytes that were received are not where they should be")]
    Missing,
}

/// Finds out where a direction is.
///
/// # Errors
///
/// When it is not certain.
pub fn settle(record: &Record, kernel: &Kernel) -> Result<Balance, Unclear> {
    let (taken, given) = counters(record, kernel)?;
    if kernel.sink_is_over {
        // What is in hand has no receiver.
        return Ok(Balance {
            taken,
            given: taken,
            in_hand: None,
        });
    }
    let length = taken.checked_sub(given).ok_or(Unclear::Contradiction)?;
    let in_hand = match length {
        0 => None,
        _ => Some(HeldBytes {
            place: record.place,
            from: offset(record, kernel, taken, given)?,
            length: length.try_into().map_err(|_| Unclear::Contradiction)?,
        }),
    };
    Ok(Balance {
        taken,
        given,
        in_hand,
    })
}

/// The offset in their place of the bytes from `given` up to `taken`, all of which have to be there.
fn offset(record: &Record, kernel: &Kernel, taken: u64, given: u64) -> Result<usize, Unclear> {
    match (record.place, kernel.piped) {
        (Place::Buffer(_), _) => {
            let end = taken.checked_sub(record.base).ok_or(Unclear::Missing)?;
            let from = given.checked_sub(record.base).ok_or(Unclear::Missing)?;
            // Both are at most the size of a buffer then.
            let fits = end <= BUFFER as u64;
            fits.then_some(from as usize).ok_or(Unclear::Missing)
        }
        (Place::Pipe(_), Some(piped)) if piped == taken - given => Ok(0),
        (Place::Pipe(_), Some(_)) => Err(Unclear::Contradiction),
        (Place::Pipe(_), None) | (Place::None, _) => Err(Unclear::Missing),
    }
}

/// What came in and what was given, after the act that was under way.
fn counters(record: &Record, kernel: &Kernel) -> Result<(u64, u64), Unclear> {
    let total = match kernel.received {
        Some(bytes) => {
            let total = bytes.checked_add(record.prefix.into());
            Some(total.ok_or(Unclear::Contradiction)?)
        }
        None => None,
    };
    let piped = match (record.act, record.place) {
        // It was empty before, and another connection may have it by now.
        (Act::Idle, _) => None,
        (_, Place::Pipe(_)) => Some(kernel.piped.ok_or(Unclear::Missing)?),
        _ => None,
    };
    let (taken, given) = match (record.act, piped) {
        (Act::Idle, _) => (record.taken, record.given),
        (Act::Receiving, Some(piped)) => {
            let taken = record.given.checked_add(piped);
            (taken.ok_or(Unclear::Contradiction)?, record.given)
        }
        (Act::Receiving, None) => (total.ok_or(Unclear::Uncounted)?, record.given),
        _ if kernel.sink_is_over => (record.taken, record.taken),
        (Act::Sending, Some(piped)) => {
            let given = record.taken.checked_sub(piped);
            (record.taken, given.ok_or(Unclear::Contradiction)?)
        }
        (Act::Sending, None) => (record.taken, kernel.sent.ok_or(Unclear::Uncounted)?),
    };
    let agree = taken >= record.taken
        && given >= record.given
        && total.is_none_or(|total| total == taken)
        && (kernel.sink_is_over || kernel.sent.is_none_or(|sent| sent == given));
    agree
        .then_some((taken, given))
        .ok_or(Unclear::Contradiction)
}

#[cfg(test)]
mod tests;
