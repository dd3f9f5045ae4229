//! How connections end, and what outlives the process.

use super::*;

#[test]
fn an_upstream_that_ends_between_requests_is_not_told() {
    assert_eq!(
        Talk::http().0.upstream_ended(),
        UpstreamEnd::BetweenRequests
    );
    let talk = Talk::http().ask(GET);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BeforeReply);
    let talk = talk.reply(OK);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BetweenRequests);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let talk = talk.ask(GET).reply(chunked);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::InReply);
}

#[test]
fn a_client_that_has_ended_asks_nothing_more() {
    let mut talk = Talk::http().ask(GET);
    talk.0.client_ended();
    let talk = talk.now_between(false);
    assert!(talk.0.request_is_whole());
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BeforeReply);
    let talk = talk.reply(OK).now_between(false);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::ClosesReply);
    assert_eq!(
        Conversation::restored(RequestKind::Http, talk.0.words()),
        talk.0
    );
}

#[test]
fn the_first_reason_stays() {
    let mut talk = Talk::http().ask(GET);
    let words = talk.0.words();
    talk.0.set_opaque(Opaque::Urgent);
    talk.0.set_opaque(Opaque::Slow);
    assert_eq!(talk.0.opaque(), Some(Opaque::Urgent));
    talk.stays_opaque(words);
}

#[test]
fn nonsense_is_opaque() {
    let http = |words| Conversation::restored(RequestKind::Http, words).opaque();
    let stage = |stage: u64| stage << 56;
    const ODD: u64 = 0x80;
    const FIRST: u64 = 1 << 32;
    assert_eq!(http([0; 3]), None);
    assert_eq!(http([FIRST, stage(2), stage(ODD)]), None);
    for words in [
        [200, 0, 0],                       // no such reason
        [1 << 14, 0, 0],                   // no such fact
        [1 << 16, 0, 0],                   // no such flag
        [FIRST, stage(8), stage(ODD)],     // no such stage
        [FIRST, stage(2), stage(ODD | 4)], // no such stage
        [0, stage(2), 0],                  // a reply is awaited before the first request
        [0, 0, stage(1)],                  // so is a chunk
        [0, 0, stage(ODD)],                // a request that has no number
        [FIRST, stage(3), 0],              // a reply before the request has begun
        [2 * FIRST, 0, stage(ODD | 1)],    // the next one begins in a body
    ] {
        assert_eq!(http(words), Some(Opaque::Unreadable), "{words:x?}");
    }
    for words in [
        [FIRST, stage(1), stage(ODD)],
        [FIRST, stage(2), stage(ODD | 1)],
    ] {
        assert_eq!(http(words), None);
        let lines = Conversation::restored(RequestKind::Lines, words);
        assert_eq!(lines.opaque(), Some(Opaque::Unreadable));
    }
}

#[test]
fn a_beginning_that_was_stored_in_part_has_not_happened() {
    for requests in 0..4 {
        let talk = (0..requests).fold(Talk::http(), |talk, _| talk.ask(GET).reply(OK));
        let before = talk.0.words();
        let after = talk.ask("HEAD / HTTP/1.0\r\n\r\n").0;
        for stored in 1..3 {
            let mut words = before;
            words[..stored].copy_from_slice(&after.words()[..stored]);
            let mut restored = Conversation::restored(RequestKind::Http, words);
            assert!(restored.is_between_requests());
            assert_eq!(restored.requests(), requests);
            let [_, reply, request] = restored.words();
            assert_eq!([reply, request], [before[1], before[2]]);
            restored.look_at_request(b"HEAD / HTTP/1.0\r\n\r\n", More::MayCome);
            assert_eq!(restored, after);
        }
    }
}
