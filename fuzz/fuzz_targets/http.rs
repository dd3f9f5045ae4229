//! Requests and replies of HTTP: the same is decided however the streams are cut, and whenever the process is
//! killed.
#![no_main]

use disnix_proxy_example::proxy::requests::{
    Conversation, Look, More, Opaque, RequestKind, UpstreamEnd,
};
use libfuzzer_sys::fuzz_target;

/// A reply after which the next request may come.
const REPLY: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n";

// Pieces of both streams, with a `|` between them: `>` is said by the client, the others by the service.
fuzz_target!(|bytes: &[u8]| {
    let pieces: Vec<&[u8]> = bytes.split(|byte| *byte == b'|').collect();
    let (asked, replied): (Vec<&[u8]>, Vec<&[u8]>) =
        { pieces.iter() }.partition(|piece| piece.starts_with(b">"));
    let asked: Vec<&[u8]> = asked.iter().map(|piece| &piece[1..]).collect();
    assert_eq!(requests(&asked), requests(&[&asked.concat()]));
    assert_eq!(replies(&replied), replies(&[&replied.concat()]));
    converse(&pieces);
});

/// What becomes of requests that are answered at once: the words, or why they are not understood.
fn requests(pieces: &[&[u8]]) -> Result<[u64; 3], Opaque> {
    let mut talk = Talk::default();
    for piece in pieces {
        talk.asked.extend(*piece);
        while talk.look_at_request(More::MayCome) {
            if talk.conversation.request_is_whole() && !talk.conversation.reply_has_begun() {
                talk.conversation.look_at_reply(REPLY, More::MayCome);
            }
        }
    }
    talk.result()
}

/// What becomes of replies to one request.
fn replies(pieces: &[&[u8]]) -> Result<[u64; 3], Opaque> {
    let mut talk = Talk::default();
    talk.conversation
        .look_at_request(b"GET / HTTP/1.1\r\n\r\n", More::MayCome);
    for piece in pieces {
        talk.replied.extend(*piece);
        while talk.look_at_reply(More::MayCome) {}
    }
    talk.result()
}

/// Both streams, in the order of the pieces, until both end.
fn converse(pieces: &[&[u8]]) {
    let mut talk = Talk::default();
    for piece in pieces {
        match piece.strip_prefix(b">") {
            Some(asked) => talk.asked.extend(asked),
            None => talk.replied.extend(*piece),
        }
        while talk.look_at_reply(More::MayCome) || talk.look_at_request(More::MayCome) {}
    }
    while talk.look_at_reply(More::No) || talk.look_at_request(More::No) {}
}

/// A conversation, and all that was said.
struct Talk {
    conversation: Conversation,
    asked: Vec<u8>,
    replied: Vec<u8>,
}

impl Default for Talk {
    fn default() -> Self {
        Self {
            conversation: Conversation::new(RequestKind::Http),
            asked: Vec::new(),
            replied: Vec::new(),
        }
    }
}

impl Talk {
    /// Looks at what waits; whether that has changed anything.
    fn look_at_request(&mut self, more: More) -> bool {
        let waiting = waiting(&self.asked, self.conversation.request_passes_until());
        look(&mut self.conversation, |talk| {
            talk.look_at_request(waiting, more)
        })
    }

    fn look_at_reply(&mut self, more: More) -> bool {
        let waiting = waiting(&self.replied, self.conversation.reply_passes_until());
        look(&mut self.conversation, |talk| {
            talk.look_at_reply(waiting, more)
        })
    }

    fn result(self) -> Result<[u64; 3], Opaque> {
        match self.conversation.opaque() {
            None => Ok(self.conversation.words()),
            Some(why) => Err(why),
        }
    }
}

fn waiting(said: &[u8], passed: u64) -> &[u8] {
    let passed = usize::try_from(passed).ok();
    passed.and_then(|at| said.get(at..)).unwrap_or_default()
}

/// Looks, also in the process after one that was killed after each store of a word.
fn look(talk: &mut Conversation, look: impl Fn(&mut Conversation) -> Look) -> bool {
    let before = talk.clone();
    let told = look(talk);
    let positions = |talk: &Conversation| (talk.request_passes_until(), talk.reply_passes_until());
    let (was, is) = (positions(&before), positions(talk));
    assert!(is.0 >= was.0 && is.1 >= was.1);
    if talk.is_between_requests() {
        assert_eq!(talk.upstream_ended(), UpstreamEnd::BetweenRequests);
    }
    for stored in 0..=3 {
        let mut words = before.words();
        words[..stored].copy_from_slice(&talk.words()[..stored]);
        let mut restored = Conversation::restored(RequestKind::Http, words);
        if positions(&restored) != is {
            assert_eq!(look(&mut restored), told);
        }
        assert_eq!(&restored, talk);
    }
    if told == Look::Surplus {
        // A part of a timeout is one until more of it says otherwise.
        talk.set_opaque(Opaque::Surplus);
    }
    *talk != before
}
