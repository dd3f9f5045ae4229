//! A relay that knows from the beginning where each request and each reply ends, and compares.

use super::*;

/// A request and its reply.
#[derive(Clone, Debug)]
pub struct SampleExchange {
    pub request: Vec<u8>,
    /// Empty lines at its beginning, in bytes.
    pub leading: usize,
    /// Where its head ends.
    pub head: usize,
    pub reply: Vec<u8>,
    /// The service replies as soon as it has the head.
    pub is_early: bool,
    /// The connection ends after the reply.
    pub is_last: bool,
    /// The end of the connection is that of the reply.
    pub is_until_end: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// The client says so many bytes.
    Asks(u16),
    /// The service says so many bytes, if it has something to say.
    Replies(u16),
    /// The upstream is replaced, if the connection is between requests.
    Detaches,
}

/// One stream: how much was said and how much was passed on.
#[derive(Debug, Default)]
struct SampleStream {
    bytes: Vec<u8>,
    said: usize,
    passed: usize,
    /// Where the present upstream began.
    base: usize,
}

impl SampleStream {
    /// Passes up to a position; whether that is reached and more waits.
    fn pass(&mut self, until: u64) -> bool {
        let until = (self.base as u64)
            .saturating_add(until)
            .min(self.said as u64);
        self.passed = until as usize;
        self.passed < self.said
    }

    fn waiting(&self) -> &[u8] {
        let waiting = &self.bytes[self.passed..self.said];
        &waiting[..waiting.len().min(LOOK_MAX)]
    }

    fn position(&self) -> u64 {
        (self.passed - self.base) as u64
    }

    fn says(&mut self, bytes: usize, limit: usize) {
        self.said = (self.said + bytes).min(limit).max(self.said);
    }
}

#[derive(Debug)]
pub struct RelayModel {
    exchanges: Vec<SampleExchange>,
    conversation: Conversation,
    requests: SampleStream,
    replies: SampleStream,
}

impl RelayModel {
    pub fn new(kind: RequestKind, exchanges: Vec<SampleExchange>) -> Self {
        let stream = |part: fn(&SampleExchange) -> &Vec<u8>| SampleStream {
            bytes: exchanges.iter().flat_map(part).copied().collect(),
            ..SampleStream::default()
        };
        Self {
            requests: stream(|exchange| &exchange.request),
            replies: stream(|exchange| &exchange.reply),
            conversation: Conversation::new(kind),
            exchanges,
        }
    }

    /// Has all of it happen, and then the rest of what there is to say.
    pub fn run(mut self, happenings: &[Happening]) {
        for happening in happenings {
            match *happening {
                Happening::Asks(bytes) => {
                    self.requests.says(bytes.into(), self.requests.bytes.len());
                }
                Happening::Replies(bytes) => self.replies.says(bytes.into(), self.replied()),
                Happening::Detaches => self.detach(),
            }
            self.relay();
        }
        self.requests.said = self.requests.bytes.len();
        self.relay();
        while self.replies.said < self.replied() {
            self.replies.said = self.replied();
            self.relay();
        }
        assert_eq!(self.conversation.opaque(), None);
        assert_eq!(self.requests.passed, self.requests.bytes.len());
        assert_eq!(self.replies.passed, self.replies.bytes.len());
    }

    /// How far the service has replied to what it got.
    fn replied(&self) -> usize {
        let (mut asked, mut replied) = (0, 0);
        for exchange in &self.exchanges {
            let needed = match exchange.is_early {
                true => exchange.head,
                false => exchange.request.len(),
            };
            if self.requests.passed < asked + needed {
                break;
            }
            asked += exchange.request.len();
            replied += exchange.reply.len();
        }
        replied
    }

    fn detach(&mut self) {
        if self.is_between() {
            self.conversation = Conversation::new(self.conversation.kind());
            self.requests.base = self.requests.passed;
            self.replies.base = self.replies.passed;
        }
    }

    /// As the relay does it.
    fn relay(&mut self) {
        loop {
            let before = (self.requests.passed, self.replies.passed);
            let words = self.conversation.words();
            if self.replies.pass(self.conversation.reply_passes_until()) {
                let reply = self.replies.waiting().to_vec();
                self.look(|conversation| conversation.look_at_reply(&reply, More::MayCome));
            }
            let asks = self.requests.pass(self.conversation.request_passes_until());
            let has_replied = self.replies.position() == self.conversation.reply_passes_until();
            if asks && (has_replied || !self.conversation.request_is_whole()) {
                let request = self.requests.waiting().to_vec();
                self.look(|conversation| conversation.look_at_request(&request, More::MayCome));
            }
            self.check();
            let now = (self.requests.passed, self.replies.passed);
            if now == before && self.conversation.words() == words {
                return;
            }
        }
    }

    /// Looks, and once more in the process after one that was killed after each store of a word.
    fn look(&mut self, look: impl Fn(&mut Conversation) -> Look) {
        let before = self.conversation.clone();
        let told = look(&mut self.conversation);
        let after = &self.conversation;
        let positions = |conversation: &Conversation| {
            let requests = conversation.request_passes_until();
            (requests, conversation.reply_passes_until())
        };
        for stored in 0..=3 {
            let mut words = before.words();
            words[..stored].copy_from_slice(&after.words()[..stored]);
            let mut restored = Conversation::restored(before.kind(), words);
            if stored == 0 {
                assert_eq!(restored, before);
            }
            if positions(&restored) != positions(after) {
                assert_eq!(positions(&restored), positions(&before));
                assert_eq!(look(&mut restored), told, "{words:x?}");
            }
            assert_eq!(&restored, after, "{words:x?}");
        }
    }

    /// Compares with what is known.
    fn check(&self) {
        let conversation = &self.conversation;
        let index = self.complete();
        let started = |part: fn(&SampleExchange) -> &Vec<u8>, count: usize| {
            let lengths = self.exchanges.iter().take(count);
            lengths.map(|exchange| part(exchange).len()).sum::<usize>() as u64
        };
        let limit = |part| started(part, index + 1);
        let until = |stream: &SampleStream, until: u64| until.saturating_add(stream.base as u64);
        let request = until(&self.requests, conversation.request_passes_until());
        assert!(
            request <= limit(|exchange| &exchange.request),
            "{conversation:?}"
        );
        let reply = until(&self.replies, conversation.reply_passes_until());
        if reply == u64::MAX {
            let last = self.exchanges.last().unwrap();
            assert!(last.is_until_end && index + 1 >= self.exchanges.len());
        } else {
            assert!(
                reply <= limit(|exchange| &exchange.reply),
                "{conversation:?}"
            );
        }
        let begins = started(|exchange| &exchange.request, index);
        let leading = self
            .exchanges
            .get(index)
            .map_or(0, |exchange| exchange.leading) as u64;
        let is_last = index > 0 && self.exchanges[index - 1].is_last;
        let has_all = self.replies.passed as u64 == started(|exchange| &exchange.reply, index);
        let is_between = request <= begins + leading && has_all && !is_last;
        let positions_are_reached = self.requests.passed as u64 == request;
        if positions_are_reached {
            assert_eq!(self.is_between(), is_between, "{conversation:?}");
        }
    }

    /// Whether the relay takes the connection for one between requests.
    fn is_between(&self) -> bool {
        let conversation = &self.conversation;
        conversation.is_between_requests()
            && self.requests.position() == conversation.request_passes_until()
            && self.replies.position() == conversation.reply_passes_until()
    }

    /// How many exchanges are complete, both sides.
    fn complete(&self) -> usize {
        let (mut asked, mut replied) = (0, 0);
        let is_complete = |exchange: &&SampleExchange| {
            asked += exchange.request.len();
            replied += exchange.reply.len();
            asked <= self.requests.passed && replied <= self.replies.passed
        };
        self.exchanges.iter().take_while(is_complete).count()
    }
}
