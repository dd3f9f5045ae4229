//! Requests of HTTP.

use super::*;

#[test]
fn a_connection_is_between_requests_before_the_first_and_after_each_reply() {
    let mut talk = Talk::http().now_between(true);
    assert_eq!(talk.0.words(), [0; 3]);
    for number in 0..5 {
        assert_eq!(talk.0.requests(), number);
        talk = talk.ask(GET).now_between(false);
        assert!(talk.0.request_is_whole() && !talk.0.reply_has_begun());
        assert_eq!(talk.0.requests(), number);
        talk = talk.reply(OK).now_between(true);
        assert!(talk.0.reply_has_begun());
    }
}

#[test]
fn a_body_of_known_length_passes_unseen() {
    let mut talk = Talk::http();
    let head = b"PUT /a HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
    let look = talk
        .0
        .look_at_request(&[&head[..], b"the beginning"].concat(), More::MayCome);
    assert_eq!(look, Look::Passes);
    assert_eq!(talk.0.request_passes_until(), head.len() as u64 + 1_000_000);
    assert!(talk.0.request_is_whole());
    talk.waits(GET, Look::AwaitsReply)
        .reply(OK)
        .now_between(true);
}

#[test]
fn a_body_in_chunks_passes_as_far_as_its_sizes_are_known() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let talk = Talk::http().ask(head);
    assert!(!talk.0.request_is_whole());
    let talk = talk
        .waits("", Look::NeedsMore)
        .waits("1", Look::NeedsMore)
        .waits("1\r", Look::NeedsMore)
        .ask("1\r\nx")
        .waits("\r", Look::NeedsMore)
        .ask("\r\n");
    let talk = talk
        .waits("0a;name=\"a b\"", Look::NeedsMore)
        .ask("0a;name=\"a b\"\r\n0123456789\r\n3\r\nabc")
        .ask("\r\n0\r\n")
        .waits("\r", Look::NeedsMore);
    let talk = talk.waits("A: b", Look::NeedsMore).ask("A: b\r\nC: d\r\n");
    assert!(!talk.0.request_is_whole());
    let talk = talk.ask("\r\n");
    assert!(talk.0.request_is_whole());
    talk.waits(GET, Look::AwaitsReply)
        .reply(OK)
        .now_between(true);
}

#[test]
fn a_head_and_its_chunks_are_one_look_and_what_follows_waits() {
    let request = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let mut talk = Talk::http();
    let look = talk
        .0
        .look_at_request(format!("{request}{GET}").as_bytes(), More::MayCome);
    assert_eq!(look, Look::Passes);
    assert_eq!(talk.0.request_passes_until(), request.len() as u64);
    assert!(talk.0.request_is_whole());
}

#[test]
fn a_chunk_that_has_not_come_yet_passes_unseen() {
    let mut talk = Talk::http().ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let before = talk.0.request_passes_until();
    talk.0.look_at_request(b"ffFFffFF\r\nx", More::MayCome);
    assert_eq!(talk.0.request_passes_until() - before, 10 + 0xffff_ffff);
}

#[test]
fn pipelined_requests_pass_one_at_a_time() {
    let mut talk = Talk::http();
    let two = [GET, GET].concat();
    assert_eq!(
        talk.0.look_at_request(two.as_bytes(), More::MayCome),
        Look::Passes
    );
    assert_eq!(talk.0.request_passes_until(), GET.len() as u64);
    let talk = talk.waits(GET, Look::AwaitsReply);
    let half = &OK[..OK.len() - 3];
    let talk = talk.looks(half.split_at(20).0, More::MayCome, Look::NeedsMore);
    talk.waits(GET, Look::AwaitsReply)
        .reply(OK)
        .ask(GET)
        .reply(OK)
        .now_between(true);
}

#[test]
fn empty_lines_before_a_request_pass_and_are_no_request() {
    let talk = Talk::http()
        .ask("\r\n")
        .now_between(true)
        .waits("\r", Look::NeedsMore);
    let talk = talk.ask("\r\n\r\n").now_between(true);
    assert_eq!(talk.0.requests(), 0);
    let talk = talk
        .ask(&format!("\r\n\r\n{GET}"))
        .now_between(false)
        .reply(OK);
    let mut talk = talk.now_between(true);
    // The head is not whole: only the empty line passes.
    let before = talk.0.request_passes_until();
    assert_eq!(
        talk.0.look_at_request(b"\r\nGET / HT", More::MayCome),
        Look::Passes
    );
    assert_eq!(talk.0.request_passes_until(), before + 2);
    talk.now_between(true).ask(GET).reply(OK).now_between(true);
}

#[test]
fn a_head_is_held_until_it_is_whole() {
    for cut in 1..GET.len() {
        Talk::http()
            .waits(&GET[..cut], Look::NeedsMore)
            .now_between(true)
            .ask(GET);
    }
}

#[test]
fn a_head_that_stays_unfinished_or_grows_too_long_passes_as_it_is() {
    let mut talk = Talk::http();
    assert_eq!(talk.0.look_at_request(b"GET / H", More::No), Look::Passes);
    assert_eq!(talk.0.opaque(), Some(Opaque::UnfinishedHead));
    let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(LOOK_MAX));
    Talk::http().waits(&long[..LOOK_MAX - 1], Look::NeedsMore);
    Talk::http().bad_request(&long.as_bytes()[..LOOK_MAX], Opaque::LongHead);
    let field = "A: b\r\n";
    let many = |count| format!("GET / HTTP/1.1\r\n{}\r\n", field.repeat(count));
    Talk::http().ask(&many(96));
    Talk::http().bad_request(many(97).as_bytes(), Opaque::ManyFields);
    Talk::http().bad_request(
        &many(97).as_bytes()[..many(97).len() - 2],
        Opaque::ManyFields,
    );
}

#[test]
fn what_may_be_repeated_depends_on_the_method_until_the_reply_begins() {
    for (method, wanted) in [
        ("GET", Repeatable::Safe),
        ("HEAD", Repeatable::Safe),
        ("OPTIONS", Repeatable::Safe),
        ("TRACE", Repeatable::Safe),
        ("PUT", Repeatable::Safe),
        ("DELETE", Repeatable::Safe),
        ("POST", Repeatable::IfUntouched),
        ("PATCH", Repeatable::IfUntouched),
        ("PROPFIND", Repeatable::IfUntouched),
        ("get", Repeatable::IfUntouched),
    ] {
        let talk = Talk::http().ask(&format!("{method} / HTTP/1.1\r\n\r\n"));
        assert_eq!(talk.0.repetition(), wanted, "{method}");
        let talk = talk.reply("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
        assert_eq!(talk.0.repetition(), Repeatable::Never);
    }
    assert_eq!(Talk::http().0.repetition(), Repeatable::Never);
}

#[test]
fn a_request_that_announces_the_end_is_the_last() {
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nconnection: TE, Close\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
    ] {
        let talk = Talk::http().ask(request).reply(OK).now_between(false);
        assert_eq!(talk.0.upstream_ended(), UpstreamEnd::ClosesReply);
        talk.bad_request(b"G", Opaque::AfterLast);
    }
    let old = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    Talk::http().ask(old).reply(OK).now_between(false);
    let kept = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    Talk::http().ask(old).reply(kept).now_between(true);
}

#[test]
fn what_is_not_http_any_more_is_opaque_with_its_reason() {
    for (bytes, why) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], Opaque::Tls),
        (b"\x16", Opaque::Tls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Opaque::Http2),
        (b"PRI * HTTP/2", Opaque::Http2),
        (
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            Opaque::Connect,
        ),
        (b"CONNECT a:443 HTTP/1.1\r\n", Opaque::Connect),
        (
            b"GET / HTTP/1.1\r\nAuthorization: NTLM TlRMTVNTUAAB\r\n",
            Opaque::Login,
        ),
        (
            b"GET / HTTP/1.1\r\nproxy-authorization: negotiate YII\r\n\r\n",
            Opaque::Login,
        ),
    ] {
        Talk::http().bad_request(bytes, why);
    }
    Talk::http()
        .ask("GET / HTTP/1.1\r\nAuthorization: Basic bnRsbQ==\r\n\r\n")
        .reply(OK);
    Talk::http().waits("PRI * HT", Look::NeedsMore);
}
