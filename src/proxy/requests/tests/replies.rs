//! Replies of HTTP.

use super::*;

#[test]
fn each_way_to_end_a_reply_is_followed() {
    for reply in [
        OK,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 102 A\r\n\r\nHTTP/1.1 103 B\r\nLink: c\r\n\r\nHTTP/1.1 404 D\r\nContent-Length: 1\r\n\r\nx",
    ] {
        Talk::http()
            .ask(GET)
            .reply(reply)
            .now_between(true)
            .ask(GET);
    }
}

#[test]
fn the_reply_to_head_has_no_body() {
    for field in ["Content-Length: 1000", "Transfer-Encoding: chunked", "A: b"] {
        let reply = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
        let talk = Talk::http().ask("HEAD / HTTP/1.1\r\n\r\n").reply(&reply);
        talk.now_between(true).ask(GET).reply(OK).now_between(true);
    }
}

#[test]
fn a_long_reply_passes_unseen() {
    let mut talk = Talk::http().ask(GET);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n";
    assert_eq!(talk.0.look_at_reply(head, More::MayCome), Look::Passes);
    assert_eq!(
        talk.0.reply_passes_until(),
        head.len() as u64 + 5_000_000_000
    );
}

#[test]
fn a_reply_that_ends_with_the_connection_is_never_detached() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nbody",
        "HTTP/1.1 205 Reset Content\r\n\r\n",
    ] {
        let talk = Talk::http().ask(GET).reply(head).now_between(false);
        assert_eq!(talk.0.reply_passes_until(), u64::MAX);
        assert_eq!(talk.0.upstream_ended(), UpstreamEnd::ClosesReply);
        let talk = talk.waits(GET, Look::AwaitsReply);
        assert_eq!(talk.0.opaque(), None);
        let restored = Conversation::restored(RequestKind::Http, talk.0.words());
        assert_eq!(restored, talk.0);
    }
}

#[test]
fn a_reply_that_announces_the_end_is_the_last() {
    for reply in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 204 A\r\nConnection: Close\r\n\r\n",
    ] {
        let talk = Talk::http().ask(GET).reply(reply).now_between(false);
        assert_eq!(talk.0.upstream_ended(), UpstreamEnd::ClosesReply);
        assert_eq!(talk.0.requests(), 1);
        talk.bad_reply(b"HTTP/1.1 408 A\r\n", Opaque::Surplus);
    }
    // Of a provisional reply it means nothing.
    let interim = "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n";
    Talk::http()
        .ask(GET)
        .reply(interim)
        .reply(OK)
        .now_between(true);
}

#[test]
fn a_provisional_reply_is_a_beginning() {
    let expects = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let talk = Talk::http().ask(expects);
    assert!(!talk.0.reply_has_begun());
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BeforeReply);
    let talk = talk
        .reply("HTTP/1.1 100 Continue\r\n\r\n")
        .now_between(false);
    assert!(talk.0.reply_has_begun());
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::InReply);
    let talk = talk.ask("1\r\na\r\n0\r\n\r\n").reply(OK).now_between(true);
    assert_eq!(talk.0.requests(), 1);
}

#[test]
fn a_client_of_http_1_0_gets_nothing_that_it_does_not_know() {
    let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    Talk::http().ask(old).bad_reply(interim, Opaque::Malformed);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    Talk::http().ask(old).bad_reply(chunked, Opaque::Length);
}

#[test]
fn an_early_reply_is_complete_before_its_request() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let talk = Talk::http()
        .ask(head)
        .ask("5\r\nabcde")
        .reply(OK)
        .now_between(false);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::InReply);
    assert_eq!(talk.0.repetition(), Repeatable::Never);
    assert!(!talk.0.request_is_whole() && talk.0.reply_has_begun());
    let talk = talk.ask("\r\n0\r\n\r\n").now_between(true).ask(GET);
    talk.reply(OK).now_between(true);
    let talk = Talk::http().ask(head).reply(OK);
    talk.bad_reply(b"HTTP/1.1 408 A\r\n", Opaque::Surplus);
}

#[test]
fn an_early_reply_that_closes_lets_the_request_pass_to_its_end() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let last = "HTTP/1.1 413 A\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let talk = Talk::http()
        .ask(head)
        .reply(last)
        .ask("1\r\na")
        .now_between(false);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::ClosesReply);
    talk.ask("\r\n0\r\n\r\n").now_between(false);
}

#[test]
fn a_head_of_a_reply_is_held_until_it_is_whole() {
    let head = OK.len() - 2;
    for cut in 1..head {
        let talk = Talk::http()
            .ask(GET)
            .looks(&OK[..cut], More::MayCome, Look::NeedsMore);
        assert!(!talk.0.reply_has_begun());
        assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BeforeReply);
        talk.reply(OK).now_between(true);
        let mut talk = Talk::http().ask(GET);
        assert_eq!(
            talk.0.look_at_reply(&OK.as_bytes()[..cut], More::No),
            Look::Passes
        );
        assert_eq!(talk.0.opaque(), Some(Opaque::UnfinishedHead));
    }
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(LOOK_MAX));
    Talk::http()
        .ask(GET)
        .bad_reply(&long.as_bytes()[..LOOK_MAX], Opaque::LongHead);
}

#[test]
fn a_service_that_speaks_first_is_opaque() {
    Talk::http().bad_reply(b"2", Opaque::SpokeFirst);
    Talk::http().bad_reply(b"HTTP/1.1 408 Request Timeout\r\n", Opaque::SpokeFirst);
    Talk::http()
        .ask("\r\n")
        .bad_reply(OK.as_bytes(), Opaque::SpokeFirst);
    Talk::lines().bad_reply(b"220 hello\r\n", Opaque::SpokeFirst);
}

#[test]
fn a_timeout_between_requests_is_dropped_with_its_upstream() {
    for bytes in [
        "H",
        "HTTP/1.1 408",
        "HTTP/1.0 408 Request Timeout\r\nA: b\r\n\r\n<html>",
    ] {
        for more in [More::MayCome, More::No] {
            let talk = Talk::http().ask(GET).reply(OK);
            let talk = talk.looks(bytes, more, Look::Surplus).now_between(true);
            assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BetweenRequests);
        }
    }
    // Also if it comes together with the reply before.
    let mut talk = Talk::http().ask(GET);
    let both = format!("{OK}HTTP/1.1 408 A\r\n\r\n");
    assert_eq!(
        talk.0.look_at_reply(both.as_bytes(), More::MayCome),
        Look::Passes
    );
    assert_eq!(talk.0.reply_passes_until(), OK.len() as u64);
    talk.now_between(true)
        .looks("HTTP/1.1 408 A\r\n\r\n", More::MayCome, Look::Surplus);
}

#[test]
fn anything_before_an_end_between_requests_is_dropped_with_the_upstream() {
    Talk::http()
        .ask(GET)
        .reply(OK)
        .looks("bye", More::No, Look::Surplus)
        .now_between(true);
}

#[test]
fn other_surplus_bytes_are_opaque() {
    let talk = || Talk::http().ask(GET).reply(OK);
    talk().bad_reply(OK.as_bytes(), Opaque::Surplus);
    talk().bad_reply(b"\r\n", Opaque::Surplus);
    let both = [OK, "x"].concat();
    Talk::http()
        .ask(GET)
        .bad_reply(both.as_bytes(), Opaque::Surplus);
    let mut ended = talk();
    ended.0.client_ended();
    ended.bad_reply(b"HTTP/1.1 408 A\r\n", Opaque::Surplus);
    let mut full = talk();
    let look = full.0.look_at_reply(&vec![b'x'; LOOK_MAX], More::No);
    assert_eq!(
        (look, full.0.opaque()),
        (Look::Passes, Some(Opaque::Surplus))
    );
}
