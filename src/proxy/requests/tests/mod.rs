//! Tests of whole conversations.

mod ends;
mod lines;
mod malformed;
mod model;
mod replies;
mod requests;
mod samples;
mod streams;

use super::*;

/// A conversation in which all bytes of one side that may pass are passed at once.
#[derive(Debug)]
struct Talk(Conversation);

impl Talk {
    fn http() -> Self {
        Self(Conversation::new(RequestKind::Http))
    }

    fn lines() -> Self {
        Self(Conversation::new(RequestKind::Lines))
    }

    /// The client says something that passes as a whole.
    #[track_caller]
    fn ask(mut self, bytes: &str) -> Self {
        let before = self.0.request_passes_until();
        let look = self.0.look_at_request(bytes.as_bytes(), More::MayCome);
        assert_eq!((look, self.0.opaque()), (Look::Passes, None), "{bytes:?}");
        let passed = self.0.request_passes_until() - before;
        assert_eq!(passed, bytes.len() as u64, "{bytes:?}");
        self
    }

    /// The service says something that passes as a whole.
    #[track_caller]
    fn reply(mut self, bytes: &str) -> Self {
        let before = self.0.reply_passes_until();
        let look = self.0.look_at_reply(bytes.as_bytes(), More::MayCome);
        assert_eq!((look, self.0.opaque()), (Look::Passes, None), "{bytes:?}");
        let until = self.0.reply_passes_until();
        assert!(
            until == u64::MAX || until - before == bytes.len() as u64,
            "{bytes:?}"
        );
        self
    }

    #[track_caller]
    fn now_between(self, wanted: bool) -> Self {
        assert_eq!(self.0.is_between_requests(), wanted, "{self:?}");
        self
    }

    /// The client says something that makes the connection opaque.
    #[track_caller]
    fn bad_request(self, bytes: &[u8], why: Opaque) {
        self.becomes_opaque(Conversation::look_at_request, bytes, why);
    }

    /// The service says something that makes the connection opaque.
    #[track_caller]
    fn bad_reply(self, bytes: &[u8], why: Opaque) {
        self.becomes_opaque(Conversation::look_at_reply, bytes, why);
    }

    #[track_caller]
    fn becomes_opaque(
        mut self,
        look: fn(&mut Conversation, &[u8], More) -> Look,
        bytes: &[u8],
        why: Opaque,
    ) {
        let words = self.0.words();
        let shown = String::from_utf8_lossy(bytes);
        let look = look(&mut self.0, bytes, More::MayCome);
        assert_eq!(
            (look, self.0.opaque()),
            (Look::Passes, Some(why)),
            "{shown:?}"
        );
        self.stays_opaque(words);
    }

    /// Everything passes, for good, and only the reason was added to the words.
    #[track_caller]
    fn stays_opaque(mut self, before: [u64; 3]) {
        let [flags, reply, request] = self.0.words();
        assert_eq!([flags & !0xff, reply, request], before);
        assert_eq!(self.0.request_passes_until(), u64::MAX);
        assert_eq!(self.0.reply_passes_until(), u64::MAX);
        assert_eq!(self.0.look_at_request(b"x", More::No), Look::Passes);
        assert_eq!(self.0.look_at_reply(b"x", More::No), Look::Passes);
        assert!(!self.0.is_between_requests() && !self.0.request_is_whole());
        assert_eq!(self.0.repetition(), Repeatable::Never);
        assert_eq!(self.0.upstream_ended(), UpstreamEnd::InReply);
        let restored = Conversation::restored(self.0.kind(), self.0.words());
        assert_eq!(restored, self.0);
    }

    #[track_caller]
    fn looks(mut self, bytes: &str, more: More, wanted: Look) -> Self {
        let words = self.0.words();
        assert_eq!(
            self.0.look_at_reply(bytes.as_bytes(), more),
            wanted,
            "{bytes:?}"
        );
        assert_eq!(self.0.words(), words);
        self
    }

    /// A request of the client waits.
    #[track_caller]
    fn waits(mut self, bytes: &str, wanted: Look) -> Self {
        let words = self.0.words();
        let look = self.0.look_at_request(bytes.as_bytes(), More::MayCome);
        assert_eq!((look, self.0.words()), (wanted, words), "{bytes:?}");
        self
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
