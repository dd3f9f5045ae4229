//! Where a conversation is, and the words in which that outlives the process.
//!
//! A process may be killed between any two stores of the three words. What makes a state that was stored in
//! part readable is their order, which is that of [`Standing::words`]:
//!
//! - The reply and the rest of a request change one word each.
//! - The beginning of a request changes all three, the request's last. Its number is in the first word, and
//!   one bit of that in the last: while these differ, the request has not begun.
//! - Facts are of use only while a request is under way, and a second look finds the same.

use super::facts::RequestFacts;
use super::opaque::Opaque;
use super::stages::{ReplyStage, RequestStage};

/// The highest position: it has 56 bits.
pub const POSITION_MAX: u64 = (1 << 56) - 1;

const ENDED: u64 = 1 << 15;
/// In the stage of a request: its number is odd.
const ODD: u8 = 0x80;

/// Where a conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub opaque: Option<Opaque>,
    pub client_has_ended: bool,
    /// Requests that have begun, this one among them.
    pub number: u32,
    pub facts: RequestFacts,
    pub reply: ReplyStage,
    pub reply_until: u64,
    pub request: RequestStage,
    pub request_until: u64,
}

impl Standing {
    /// One in which nothing is known any more.
    pub fn opaque(why: Opaque) -> Self {
        Self {
            opaque: Some(why),
            ..Self::default()
        }
    }

    /// Whether nothing is under way, as far as both streams may pass.
    pub fn is_idle(&self) -> bool {
        self.reply == ReplyStage::Complete && self.request == RequestStage::Whole
    }

    /// A request begins, of which more will be passed on.
    pub fn begin(&mut self, facts: RequestFacts) {
        self.number = match self.number {
            u32::MAX => 2, // as odd or even as if it went on
            number => number + 1,
        };
        self.facts = facts;
        self.reply = ReplyStage::Awaited;
    }

    /// The reply is complete.
    pub fn complete(&mut self) {
        self.reply = match self.facts.closes {
            true => ReplyStage::Closing,
            false => ReplyStage::Complete,
        };
    }

    /// So many more bytes of the request may pass.
    pub fn pass_request(&mut self, bytes: u64) -> Result<(), Opaque> {
        self.request_until = further(self.request_until, bytes)?;
        Ok(())
    }

    /// So many more bytes of the reply may pass.
    pub fn pass_reply(&mut self, bytes: u64) -> Result<(), Opaque> {
        self.reply_until = further(self.reply_until, bytes)?;
        Ok(())
    }

    /// The words, in the order in which they have to be stored.
    pub fn words(&self) -> [u64; 3] {
        let opaque = self.opaque.map_or(0, Opaque::code);
        let mut flags = u64::from(opaque) | u64::from(self.facts.bits()) << 8;
        if self.client_has_ended {
            flags |= ENDED;
        }
        let odd = if self.number % 2 == 1 { ODD } else { 0 };
        [
            flags | u64::from(self.number) << 32,
            word(self.reply.code(), self.reply_until),
            word(self.request.code() | odd, self.request_until),
        ]
    }

    /// Reads the words, also if only the first of them were stored; `None` if they make no sense.
    pub fn of([flags, reply, request]: [u64; 3]) -> Option<Self> {
        let (reply, reply_until) = parts(reply);
        let (request, request_until) = parts(request);
        let [opaque, facts, 0, 0, ..] = (flags & !ENDED).to_le_bytes() else {
            return None;
        };
        let mut standing = Self {
            opaque: match opaque {
                0 => None,
                code => Some(Opaque::of(code)?),
            },
            client_has_ended: flags & ENDED != 0,
            number: (flags >> 32) as u32,
            facts: RequestFacts::of(facts)?,
            reply: ReplyStage::of(reply)?,
            reply_until,
            request: RequestStage::of(request & !ODD)?,
            request_until,
        };
        if (standing.number % 2 == 1) != (request & ODD != 0) {
            standing.undo_beginning()?;
        }
        let has_begun = standing.number > 0 || standing == standing.untouched();
        has_begun.then_some(standing)
    }

    /// Takes back a beginning of which the request's word was not stored.
    fn undo_beginning(&mut self) -> Option<()> {
        let is_beginning = matches!(self.reply, ReplyStage::Complete | ReplyStage::Awaited)
            && self.request == RequestStage::Whole;
        self.number = self.number.checked_sub(1).filter(|_| is_beginning)?;
        self.facts = RequestFacts::default();
        self.reply = ReplyStage::Complete;
        Some(())
    }

    /// As it would be if there had been no request.
    fn untouched(&self) -> Self {
        Self {
            number: 0,
            facts: RequestFacts::default(),
            reply: ReplyStage::Complete,
            request: RequestStage::Whole,
            ..*self
        }
    }
}

fn further(position: u64, bytes: u64) -> Result<u64, Opaque> {
    let sum = position.checked_add(bytes);
    sum.filter(|sum| *sum <= POSITION_MAX).ok_or(Opaque::Length)
}

fn word(stage: u8, position: u64) -> u64 {
    u64::from(stage) << 56 | position
}

fn parts(word: u64) -> (u8, u64) {
    ((word >> 56) as u8, word & POSITION_MAX)
}
