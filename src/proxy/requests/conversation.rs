//! The requests of one connection and the replies of one upstream to them.

use super::kind::RequestKind;
use super::look::{Look, More, Repeatable, UpstreamEnd};
use super::opaque::Opaque;
use super::stages::{ReplyStage, RequestStage};
use super::standing::Standing;
use super::surplus::surplus;
use super::{http, lines};

/// The requests of one connection and the replies of one upstream to them.
///
/// Both streams begin at position 0. Each passes up to its position without being looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    kind: RequestKind,
    standing: Standing,
}

impl Conversation {
    /// One in which nothing was said yet.
    pub fn new(kind: RequestKind) -> Self {
        let standing = Standing::default();
        Self { kind, standing }
    }

    /// The one that an earlier process has stored: opaque if the words make no sense.
    pub fn restored(kind: RequestKind, words: [u64; 3]) -> Self {
        let is_of_kind = |standing: &Standing| match kind {
            RequestKind::Http => true,
            RequestKind::Lines => {
                matches!(standing.reply, ReplyStage::Complete | ReplyStage::Awaited)
                    && standing.request == RequestStage::Whole
            }
        };
        let standing = Standing::of(words).filter(is_of_kind);
        let standing = standing.unwrap_or(Standing::opaque(Opaque::Unreadable));
        Self { kind, standing }
    }

    /// How requests are recognised.
    pub fn kind(&self) -> RequestKind {
        self.kind
    }

    /// The words to store after each look and each event, in this order, before the bytes pass: flags, reply,
    /// request. Those of a new one are zeros.
    pub fn words(&self) -> [u64; 3] {
        self.standing.words()
    }

    /// The position up to which the client's stream passes; without a limit if the connection is opaque.
    pub fn request_passes_until(&self) -> u64 {
        match self.standing.opaque {
            Some(_) => u64::MAX,
            None => self.standing.request_until,
        }
    }

    /// The position up to which the upstream's stream passes; without a limit if the connection is opaque or
    /// the reply ends with it.
    pub fn reply_passes_until(&self) -> u64 {
        match (self.standing.opaque, self.standing.reply) {
            (Some(_), _) | (_, ReplyStage::UntilEnd) => u64::MAX,
            _ => self.standing.reply_until,
        }
    }

    /// Looks at the bytes of the client that wait at its position. If the request before is whole, the reply
    /// must have passed up to its own.
    pub fn look_at_request(&mut self, bytes: &[u8], more: More) -> Look {
        let kind = self.kind;
        self.look(|standing| match (standing.request, standing.reply) {
            _ if bytes.is_empty() => Ok(Look::NeedsMore),
            (RequestStage::Whole, ReplyStage::Closing) => Err(Opaque::AfterLast),
            (RequestStage::Whole, ReplyStage::Complete) => match kind {
                RequestKind::Lines => lines::look_at_request(standing, bytes, more),
                RequestKind::Http => http::look_at_request(standing, bytes, more),
            },
            (RequestStage::Whole, _) => Ok(Look::AwaitsReply),
            (RequestStage::Chunked(part), _) => http::look_at_body(standing, part, bytes, more),
        })
    }

    /// Looks at the bytes of the upstream that wait at its position.
    pub fn look_at_reply(&mut self, bytes: &[u8], more: More) -> Look {
        let kind = self.kind;
        self.look(|standing| match standing.reply {
            _ if bytes.is_empty() => Ok(Look::NeedsMore),
            ReplyStage::Complete if standing.number == 0 => Err(Opaque::SpokeFirst),
            ReplyStage::Complete | ReplyStage::Closing => surplus(kind, standing, bytes, more),
            _ => match kind {
                RequestKind::Lines => lines::look_at_reply(standing, bytes, more),
                RequestKind::Http => http::look_at_reply(standing, bytes, more),
            },
        })
    }

    /// What cannot be told apart leaves the state as it was, but for the reason.
    fn look(&mut self, look: impl FnOnce(&mut Standing) -> Result<Look, Opaque>) -> Look {
        if self.standing.opaque.is_some() {
            return Look::Passes;
        }
        let mut standing = self.standing;
        match look(&mut standing) {
            Ok(look) => {
                self.standing = standing;
                look
            }
            Err(why) => {
                self.set_opaque(why);
                Look::Passes
            }
        }
    }

    /// The client's end has come, at the position of its stream.
    pub fn client_ended(&mut self) {
        self.standing.client_has_ended = true;
    }

    /// What it means that the upstream ends or breaks at the position of its stream. If it does so before that
    /// position, or if the request has not passed up to its own while the reply has begun, the end is passed
    /// on as it is.
    pub fn upstream_ended(&self) -> UpstreamEnd {
        match self.standing.reply {
            _ if self.standing.opaque.is_some() => UpstreamEnd::InReply,
            ReplyStage::UntilEnd | ReplyStage::Closing => UpstreamEnd::ClosesReply,
            ReplyStage::Complete if self.standing.request != RequestStage::Whole => {
                UpstreamEnd::InReply
            }
            ReplyStage::Complete if self.standing.client_has_ended => UpstreamEnd::ClosesReply,
            ReplyStage::Complete => UpstreamEnd::BetweenRequests,
            ReplyStage::Awaited => UpstreamEnd::BeforeReply,
            ReplyStage::Interim | ReplyStage::Chunked(_) => UpstreamEnd::InReply,
        }
    }

    /// Whether no request is under way and another one may come, once both streams have passed up to their
    /// positions. Also before the first request.
    pub fn is_between_requests(&self) -> bool {
        self.standing.is_idle() && self.standing.opaque.is_none() && !self.standing.client_has_ended
    }

    /// Whether a byte of the reply to the present or last request may pass. Provisional replies count.
    pub fn reply_has_begun(&self) -> bool {
        self.standing.number > 0 && self.standing.reply != ReplyStage::Awaited
    }

    /// Whether the request under way may be sent again.
    pub fn repetition(&self) -> Repeatable {
        match self.standing.reply {
            _ if self.standing.opaque.is_some() => Repeatable::Never,
            ReplyStage::Awaited if self.standing.facts.is_idempotent => Repeatable::Safe,
            ReplyStage::Awaited => Repeatable::IfUntouched,
            _ => Repeatable::Never,
        }
    }

    /// Whether the present or last request, its body included, ends at the position of the client's stream.
    pub fn request_is_whole(&self) -> bool {
        self.standing.opaque.is_none()
            && self.standing.number > 0
            && self.standing.request == RequestStage::Whole
    }

    /// Requests whose reply is complete.
    pub fn requests(&self) -> u32 {
        let is_under_way = self.standing.number > 0 && !self.standing.reply.is_over();
        self.standing.number - u32::from(is_under_way)
    }

    /// Why the connection is opaque, if it is.
    pub fn opaque(&self) -> Option<Opaque> {
        self.standing.opaque
    }

    /// Has the connection relayed byte for byte from now on. The first reason stays.
    pub fn set_opaque(&mut self, why: Opaque) {
        self.standing.opaque.get_or_insert(why);
    }
}
