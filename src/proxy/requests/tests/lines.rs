//! Lines.

use super::*;

#[test]
fn a_line_is_answered_by_a_line() {
    let talk = Talk::lines().now_between(true);
    let talk = talk
        .waits("hel", Look::NeedsMore)
        .ask("hello\n")
        .now_between(false);
    assert!(talk.0.request_is_whole());
    assert_eq!(talk.0.repetition(), Repeatable::IfUntouched);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BeforeReply);
    let talk = talk.looks("Hello", More::MayCome, Look::NeedsMore);
    assert!(!talk.0.reply_has_begun());
    let talk = talk.reply("Hello world!\r\n").now_between(true);
    assert_eq!(talk.0.upstream_ended(), UpstreamEnd::BetweenRequests);
    talk.ask("\n").reply("\n").now_between(true);
}

#[test]
fn lines_pass_one_at_a_time() {
    let mut talk = Talk::lines();
    assert_eq!(
        talk.0.look_at_request(b"a\nb\nc\n", More::MayCome),
        Look::Passes
    );
    assert_eq!(talk.0.request_passes_until(), 2);
    talk.waits("b\nc\n", Look::AwaitsReply)
        .reply("A\n")
        .ask("b\n")
        .reply("B\n")
        .ask("c\n");
}

#[test]
fn more_lines_than_requests_are_opaque() {
    Talk::lines()
        .ask("a\n")
        .bad_reply(b"A\nB\n", Opaque::Surplus);
    Talk::lines().ask("a\n").bad_reply(b"A\nB", Opaque::Surplus);
    Talk::lines()
        .ask("a\n")
        .reply("A\n")
        .bad_reply(b"B", Opaque::Surplus);
    let mut talk = Talk::lines().ask("a\n").reply("A\n");
    assert_eq!(talk.0.look_at_reply(b"bye\n", More::No), Look::Passes);
    assert_eq!(talk.0.opaque(), Some(Opaque::Surplus));
}

#[test]
fn a_line_that_stays_unfinished_or_grows_too_long_passes_as_it_is() {
    let mut talk = Talk::lines();
    assert_eq!(talk.0.look_at_request(b"hello", More::No), Look::Passes);
    assert_eq!(talk.0.opaque(), Some(Opaque::UnfinishedLine));
    let long = vec![b'a'; LOOK_MAX];
    Talk::lines().bad_request(&long, Opaque::LongLine);
    Talk::lines().ask("a\n").bad_reply(&long, Opaque::LongLine);
}
