//! What a relay knows of the requests of its connection.

use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::PollFlags;

use super::receive_limit::ReceiveLimit;
use super::request_copy::RequestCopy;
use crate::proxy::keep::{RequestWords, Slot, Way};
use crate::proxy::requests::{
    Conversation, LOOK_MAX, Look, More, Opaque, Repeatable, RequestKind, UpstreamEnd,
};
use crate::service::clock::Uptime;
use crate::service::kernel::poll_now;

/// The longest request that is sent again, in bytes.
const REPEATED_MAX: usize = LOOK_MAX;

/// After this time without a request, the upstream may be about to end the connection: what cannot be sent again
/// gets a fresh one.
const FRESH_AFTER: Duration = Duration::from_millis(500);

/// What becomes of a connection that is between requests, or whose upstream was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turning {
    /// The upstream is not needed any more, or of no use; the client stays.
    Detach,
    /// The upstream was lost before its reply: the request is sent again, to another one.
    Repeat,
}

/// How much of the request under way was carried, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestProgress {
    /// What may still be received of it.
    pub(super) left: u64,
    /// What was received and not sent, without what is held.
    pub(super) in_hand: u64,
    /// Whether all of the last reply was received and sent.
    pub(super) has_passed_reply: bool,
    /// Whether no further reply can pass.
    pub(super) has_replies_ended: bool,
}

/// Whether a part of a head or a line waits for its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestWait {
    None,
    Begun,
    /// The time has been set after which it passes without.
    Limited,
}

/// What has to be known for a look besides the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookContext<'a> {
    /// Whether more may join them.
    pub(super) more: More,
    /// Where they are going.
    pub(super) sink: BorrowedFd<'a>,
    pub(super) now: Uptime,
    pub(super) progress: RequestProgress,
}

/// The requests of a connection, and what is needed to send one again. With many connections the processor fetches it
/// anew for each request: two lines of its cache, and behind them those of the copy.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RequestTracking {
    conversation: Conversation,
    /// How far each direction may receive.
    limits: [ReceiveLimit; 2],
    /// Where the state outlives the process.
    words: Option<RequestWords>,
    /// When the last reply was complete. Before that, when the system started.
    idle_since: Uptime,
    /// Whether no further request is begun.
    pub(super) is_held: bool,
    /// What was found out in this turn.
    pub(super) turning: Option<Turning>,
    /// Whether a part of a head or a line waits for its rest, each way.
    rests: [RestWait; 2],
    /// Of the request under way, until its reply begins. Its beginning is not known if an earlier process has looked, or
    /// if a later look has let more of it pass.
    copy: RequestCopy,
}

const _: () = assert!(offset_of!(RequestTracking, copy) + RequestCopy::HOT <= 128);

impl RequestTracking {
    /// Nothing was said yet.
    pub(super) fn new(kind: RequestKind, slot: Option<Slot>) -> Self {
        Self::of(Conversation::new(kind), slot)
    }

    /// As an earlier process has left them.
    pub(super) fn restored(kind: RequestKind, slot: Slot) -> Self {
        let mut requests = Self::of(Conversation::restored(kind, slot.requests()), Some(slot));
        let is_possible = Way::BOTH.iter().all(|way| {
            let flow = slot.flow(*way);
            let position = requests.restored_position(*way, slot);
            let limit = ReceiveLimit::restored(position, requests.until(*way));
            requests.limits[*way as usize] = limit;
            limit.held() as u64 <= flow.taken().saturating_sub(flow.given())
        });
        if !is_possible {
            // A process that did not tell requests apart has carried something.
            requests.set_opaque(Opaque::Earlier);
            Way::BOTH.iter().for_each(|way| requests.pass(*way, 0));
        }
        requests
    }

    fn of(conversation: Conversation, slot: Option<Slot>) -> Self {
        Self {
            conversation,
            limits: [ReceiveLimit::holding(0); 2],
            words: slot.map(Slot::request_words),
            copy: RequestCopy::NONE,
            is_held: false,
            turning: None,
            rests: [RestWait::None; 2],
            idle_since: Uptime::default(),
        }
    }

    /// How far may be received.
    pub(super) fn limit(&self, way: Way) -> ReceiveLimit {
        self.limits[way as usize]
    }

    /// Lets pass what may. The last look has found `found` bytes, or 0 ([`ReceiveLimit::extend`]).
    pub(super) fn pass(&mut self, way: Way, found: usize) {
        let until = self.until(way);
        self.limits[way as usize].extend(until, found);
    }

    fn until(&self, way: Way) -> u64 {
        match way {
            Way::Up => self.conversation.request_passes_until(),
            Way::Down => self.conversation.reply_passes_until(),
        }
    }

    /// Up to where the stream was received. The positions of a request that was sent again begin with it.
    fn restored_position(&self, way: Way, slot: Slot) -> u64 {
        let flow = slot.flow(way);
        let received = flow.taken() - u64::from(flow.prefix_length());
        match way {
            Way::Up => received + slot.repeated(),
            Way::Down => received,
        }
    }

    /// Whether bytes may be received before they are looked at. Those of a request that would have to wait stay in
    /// the client's socket.
    pub(super) fn may_hold(&self, way: Way, progress: RequestProgress) -> bool {
        match way {
            Way::Down => true,
            Way::Up if progress.has_replies_ended => false,
            Way::Up if self.conversation.is_between_requests() => {
                progress.has_passed_reply && !self.is_held
            }
            Way::Up => !self.conversation.request_is_whole(),
        }
    }

    /// This number of bytes was received before a look.
    pub(super) fn hold(&mut self, way: Way, number: usize) {
        self.limits[way as usize].hold(number);
    }

    pub(super) fn opaque(&self) -> Option<Opaque> {
        self.conversation.opaque()
    }

    /// Relays everything byte for byte from now on.
    pub(super) fn set_opaque(&mut self, why: Opaque) {
        self.conversation.set_opaque(why);
        self.write_down();
    }

    /// Looks at the bytes that wait, in the socket or [held](Self::hold).
    pub(super) fn look(&mut self, way: Way, bytes: &[u8], context: LookContext<'_>) -> Look {
        let rest = self.rests[way as usize];
        let look = match way {
            Way::Up => self.look_at_request(bytes, context),
            Way::Down => self.look_at_reply(bytes, context),
        };
        self.rests[way as usize] = match (look, rest) {
            (Look::NeedsMore, RestWait::Limited) => RestWait::Limited,
            (Look::NeedsMore, _) => RestWait::Begun,
            _ => RestWait::None,
        };
        self.write_down();
        look
    }

    fn look_at_request(&mut self, bytes: &[u8], context: LookContext<'_>) -> Look {
        if context.progress.has_replies_ended {
            self.conversation.set_opaque(Opaque::AfterLast);
            return Look::Passes;
        }
        let was_between = self.conversation.is_between_requests();
        if !context.progress.has_passed_reply && self.conversation.request_is_whole() {
            return Look::AwaitsReply;
        }
        if self.is_held && was_between {
            self.turning = Some(Turning::Detach);
            return Look::AwaitsReply;
        }
        let before = self.conversation.clone();
        let look = self.conversation.look_at_request(bytes, context.more);
        let has_begun = was_between && look == Look::Passes && self.opaque().is_none();
        if !has_begun {
            if look == Look::Passes {
                self.copy.forget();
            }
            return look;
        }
        let length = self.conversation.request_passes_until() - before.request_passes_until();
        let is_short = self.conversation.request_is_whole() && length <= REPEATED_MAX as u64;
        if self.needs_another(is_short, context.sink, context.now) {
            self.conversation = before;
            self.turning = Some(Turning::Detach);
            return Look::AwaitsReply;
        }
        self.begin(length, bytes);
        look
    }

    /// A request of this length begins, as far as that is known: with these bytes.
    fn begin(&mut self, length: u64, bytes: &[u8]) {
        let is_repeatable = self.conversation.request_is_whole() && length <= REPEATED_MAX as u64;
        let are_held = self.limit(Way::Up).held() > 0;
        let copy = &mut self.copy;
        match bytes.get(..length as usize) {
            _ if !is_repeatable => copy.begin(length, &[]),
            Some(whole) => copy.begin(length, whole),
            None if are_held => copy.begin_growing(length, bytes),
            // Those that wait in the socket are received again.
            None => copy.begin_growing(length, &[]),
        }
    }

    /// This number of bytes was received: these, if they have passed through memory.
    pub(super) fn received(&mut self, way: Way, number: usize, bytes: Option<&[u8]>) {
        self.limits[way as usize].received(number);
        if way == Way::Up {
            self.copy.received(bytes);
        }
    }

    fn look_at_reply(&mut self, bytes: &[u8], context: LookContext<'_>) -> Look {
        let look = self.conversation.look_at_reply(bytes, context.more);
        if look == Look::Passes {
            self.copy.forget();
            self.idle_since = context.now;
        }
        let RequestProgress { left, in_hand, .. } = context.progress;
        match look {
            Look::Surplus if left == 0 && in_hand == 0 => self.turning = Some(Turning::Detach),
            // The reply has come before the request was whole.
            Look::Surplus => {
                self.conversation.set_opaque(Opaque::Surplus);
                return Look::Passes;
            }
            _ => {}
        }
        look
    }

    /// Whether a request that has begun, and cannot be sent twice, gets another upstream because this one was used
    /// before and has ended, or may be about to.
    fn needs_another(&self, is_short: bool, upstream: BorrowedFd<'_>, now: Uptime) -> bool {
        let is_used = self.conversation.requests() > 0;
        let may_repeat = is_short && self.conversation.repetition() == Repeatable::Safe;
        if !is_used || may_repeat {
            return false;
        }
        let is_old = self.conversation.kind() == RequestKind::Http
            && now.since(self.idle_since) >= FRESH_AFTER;
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        is_old || poll_now(upstream, PollFlags::RDHUP).is_ok_and(|flags| flags.intersects(ends))
    }

    /// The client's end has come.
    pub(super) fn client_ended(&mut self) {
        self.conversation.client_ended();
        self.write_down();
    }

    /// The upstream has ended or is broken, and all that it has sent was received. Returns whether the client is not
    /// told ([`Self::turning`] says what becomes of it).
    pub(super) fn upstream_ended(&mut self, progress: RequestProgress) -> bool {
        let RequestProgress { left, in_hand, .. } = progress;
        self.turning = match self.conversation.upstream_ended() {
            UpstreamEnd::BetweenRequests if left == 0 && in_hand == 0 => Some(Turning::Detach),
            UpstreamEnd::BeforeReply => self.after_loss(left, in_hand),
            _ => None,
        };
        self.turning.is_some()
    }

    /// What becomes of a request whose upstream was lost before its reply.
    fn after_loss(&mut self, left: u64, in_hand: u64) -> Option<Turning> {
        let repetition = self.conversation.repetition();
        let received = self.copy.length()?.saturating_sub(left);
        if received == 0 {
            // It still waits in the client's socket, or is held.
            return Some(Turning::Detach);
        }
        let may_repeat = match repetition {
            Repeatable::Safe => true,
            Repeatable::IfUntouched => in_hand == received,
            Repeatable::Never => false,
        };
        // The rest is still to be received.
        (may_repeat && self.copy.reduce_to(received)).then_some(Turning::Repeat)
    }

    /// Whether the connection is between requests, if both directions have passed as far as they may.
    pub(super) fn is_between(&self) -> bool {
        self.conversation.is_between_requests()
    }

    /// Whether the upstream has answered a request.
    pub(super) fn has_answered(&self) -> bool {
        self.conversation.requests() > 0
    }

    /// Whether a part waits for its rest.
    pub(super) fn waits_for_rest(&self) -> bool {
        self.rests.iter().any(|rest| *rest != RestWait::None)
    }

    /// Whether a part has begun to wait for its rest, once each time.
    pub(super) fn starts_to_wait_for_rest(&mut self) -> bool {
        let mut starts = false;
        for rest in &mut self.rests {
            if *rest == RestWait::Begun {
                *rest = RestWait::Limited;
                starts = true;
            }
        }
        starts
    }

    /// The time is over after which a part passes without its rest.
    pub(super) fn stop_waiting_for_rest(&mut self) {
        if self.rests.contains(&RestWait::Limited) {
            self.rests = [RestWait::None; 2];
            self.set_opaque(Opaque::Slow);
        }
    }

    /// Takes the copy of the request under way, as far as it was received, to be sent again.
    pub(super) fn take_copy(&mut self) -> Vec<u8> {
        self.copy.take()
    }

    /// The client has said these bytes to another upstream, or while it had none: they come first of all. Those behind
    /// the first request are [held](Self::hold). Returns what the caller has to write down.
    pub(super) fn begin_with(&mut self, bytes: &[u8], is_of_other_kind: bool) -> [u64; 3] {
        self.limits[Way::Up as usize] = ReceiveLimit::holding(bytes.len());
        if self.conversation.look_at_request(bytes, More::MayCome) == Look::Passes {
            let length = self.conversation.request_passes_until();
            self.begin(length, bytes);
        }
        self.pass(Way::Up, 0);
        if is_of_other_kind && self.limit(Way::Up).held() > 0 {
            // Nobody knows what belongs together.
            self.conversation.set_opaque(Opaque::Unreadable);
            self.pass(Way::Up, 0);
        }
        self.conversation.words()
    }

    fn write_down(&self) {
        if let Some(words) = self.words {
            words.set(self.conversation.words());
        }
    }
}
