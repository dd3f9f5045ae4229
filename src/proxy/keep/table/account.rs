//! What the state of a direction is when its process has died at any moment (pure).
//!
//! A process writes down what it is about to do, does it, and writes down how much it was. It does one
//! thing at a time, so what is written down is exact but for the one act that was under way; and of
//! that the kernel knows how much it was. What contradicts itself is never guessed at: [`Unclear`].
//!
//! Positions are those of the stream that the sink gets: first our own bytes (the *prefix*), then what
//! was received.

use super::layout::BUFFER;

/// Where bytes in hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere yet.
    Nowhere,
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
            0 if number == 0 => Some(Self::Nowhere),
            1 => Some(Self::Buffer(number)),
            2 => Some(Self::Pipe(number)),
            _ => None,
        }
    }

    /// As it is written.
    pub(super) fn word(self) -> u64 {
        match self {
            Self::Nowhere => 0,
            Self::Buffer(number) => 1 << 32 | u64::from(number),
            Self::Pipe(number) => 2 << 32 | u64::from(number),
        }
    }
}

/// What was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Act {
    /// Nothing.
    Nothing = 0,
    /// A receive, into the place.
    Receiving = 1,
    /// A send, from there.
    Sending = 2,
}

impl Act {
    pub(super) fn of(number: u32) -> Option<Self> {
        use Act::*;
        let all = [Nothing, Receiving, Sending];
        all.into_iter().find(|act| *act as u32 == number)
    }
}

/// What is written down of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where bytes in hand are, or will be when the act is over.
    pub place: Place,
    /// The position of the first byte in the buffer.
    pub base: u64,
    /// Bytes that came in, the prefix among them.
    pub taken: u64,
    /// Bytes that the sink got.
    pub given: u64,
    /// How many of our own are in front.
    pub prefix: u32,
    /// What was under way.
    pub act: Act,
}

/// How many bytes were received from a source altogether, as far as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Exactly(u64),
    /// It cannot be told.
    Unknown,
}

/// What the kernel says; asked after the process has died, when nobody moves any more what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Bytes that were received from the source.
    pub received: Total,
    /// Bytes that were sent to the sink.
    pub sent: Total,
    /// The sink takes nothing any more: it has had everything, or was reset.
    pub sink_is_over: bool,
    /// Bytes in the pipe, if the place is one, and it is there.
    pub piped: Option<u64>,
}

/// What the counters are, now that nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Bytes that came in.
    pub taken: u64,
    /// Bytes that the sink got.
    pub given: u64,
    /// Where the bytes are that came in and were not given: how many, and how far from the start of
    /// their buffer.
    pub held: Option<HeldBytes>,
}

/// Bytes in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBytes {
    /// So many bytes of this buffer, from there on.
    Buffer {
        /// Its number.
        number: u32,
        /// The first of them.
        from: usize,
        /// How many.
        length: usize,
    },
    /// All that is in this pipe.
    Pipe {
        /// Its number.
        number: u32,
        /// How many.
        length: usize,
    },
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
    /// Bytes in hand are nowhere.
    #[error("bytes that were received are not where they should be")]
    Missing,
}

/// Finds out where a direction is.
///
/// # Errors
///
/// When it is not certain.
pub fn settle(record: &Record, kernel: &Kernel) -> Result<Settled, Unclear> {
    let (taken, given) = counters(record, kernel)?;
    if kernel.sink_is_over {
        // What is in hand has nobody to go to.
        return Ok(Settled {
            taken,
            given: taken,
            held: None,
        });
    }
    let length = taken.checked_sub(given).ok_or(Unclear::Contradiction)?;
    let held = match record.place {
        _ if length == 0 => None,
        Place::Nowhere => return Err(Unclear::Missing),
        Place::Buffer(number) => Some(in_buffer(record.base, given, taken, number)?),
        Place::Pipe(number) => match kernel.piped {
            Some(piped) if piped == length => Some(HeldBytes::Pipe {
                number,
                length: length.try_into().map_err(|_| Unclear::Contradiction)?,
            }),
            Some(_) => return Err(Unclear::Contradiction),
            None => return Err(Unclear::Missing),
        },
    };
    Ok(Settled { taken, given, held })
}

fn in_buffer(base: u64, given: u64, taken: u64, number: u32) -> Result<HeldBytes, Unclear> {
    let end = taken.checked_sub(base).ok_or(Unclear::Missing)?;
    let from = given.checked_sub(base).ok_or(Unclear::Missing)?;
    if end > BUFFER as u64 {
        return Err(Unclear::Missing);
    }
    // Both are at most the size of a buffer now.
    Ok(HeldBytes::Buffer {
        number,
        from: from as usize,
        length: (end - from) as usize,
    })
}

/// What came in and what was given, after the act that was under way.
fn counters(record: &Record, kernel: &Kernel) -> Result<(u64, u64), Unclear> {
    let came = match kernel.received {
        Total::Exactly(bytes) => {
            let came = bytes.checked_add(record.prefix.into());
            Some(came.ok_or(Unclear::Contradiction)?)
        }
        Total::Unknown => None,
    };
    let went = match kernel.sent {
        Total::Exactly(bytes) => Some(bytes),
        Total::Unknown => None,
    };
    let piped = match (record.act, record.place) {
        // It was empty before, and is somebody else's by now, perhaps.
        (Act::Nothing, _) => None,
        (_, Place::Pipe(_)) => Some(kernel.piped.ok_or(Unclear::Missing)?),
        _ => None,
    };
    let (taken, given) = match (record.act, piped) {
        (Act::Nothing, _) => (record.taken, record.given),
        (Act::Receiving, Some(piped)) => {
            let taken = record.given.checked_add(piped);
            (taken.ok_or(Unclear::Contradiction)?, record.given)
        }
        (Act::Receiving, None) => (came.ok_or(Unclear::Uncounted)?, record.given),
        _ if kernel.sink_is_over => (record.taken, record.taken),
        (Act::Sending, Some(piped)) => {
            let given = record.taken.checked_sub(piped);
            (record.taken, given.ok_or(Unclear::Contradiction)?)
        }
        (Act::Sending, None) => (record.taken, went.ok_or(Unclear::Uncounted)?),
    };
    let agree = taken >= record.taken
        && given >= record.given
        && came.is_none_or(|came| came == taken)
        && (kernel.sink_is_over || went.is_none_or(|went| went == given));
    agree
        .then_some((taken, given))
        .ok_or(Unclear::Contradiction)
}

#[cfg(test)]
mod tests;
