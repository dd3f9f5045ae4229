//! Random streams, cut at random places.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::RelayModel;
use super::*;

proptest! {
    #[test]
    fn each_request_of_http_meets_its_reply_also_if_the_process_is_killed(
        exchanges in samples::http(),
        happenings in samples::happenings(),
    ) {
        RelayModel::new(RequestKind::Http, exchanges).run(&happenings);
    }

    #[test]
    fn each_line_meets_its_reply_also_if_the_process_is_killed(
        exchanges in samples::lines(),
        happenings in samples::happenings(),
    ) {
        RelayModel::new(RequestKind::Lines, exchanges).run(&happenings);
    }

    #[test]
    fn a_request_is_judged_alike_however_it_is_cut(bytes in nearly_http(), cuts in cuts()) {
        let whole = judged_requests(&bytes, &[]);
        prop_assert_eq!(judged_requests(&bytes, &cuts), whole);
    }

    #[test]
    fn a_reply_is_judged_alike_however_it_is_cut(bytes in nearly_http(), cuts in cuts()) {
        let whole = judged_replies(&bytes, &[]);
        prop_assert_eq!(judged_replies(&bytes, &cuts), whole);
    }

    #[test]
    fn nothing_that_is_said_makes_it_panic_or_go_back(
        is_http in any::<bool>(),
        steps in vec((0..4_u8, nearly_http(), any::<bool>()), 0..20),
    ) {
        let kind = if is_http { RequestKind::Http } else { RequestKind::Lines };
        let mut conversation = Conversation::new(kind);
        for (what, bytes, is_all) in steps {
            let before = conversation.clone();
            let more = if is_all { More::No } else { More::MayCome };
            match what {
                0 if is_all => conversation.client_ended(),
                0..=1 => drop(conversation.look_at_request(&bytes, more)),
                _ => drop(conversation.look_at_reply(&bytes, more)),
            }
            prop_assert!(conversation.request_passes_until() >= before.request_passes_until());
            prop_assert!(conversation.reply_passes_until() >= before.reply_passes_until());
            prop_assert!(conversation.requests() >= before.requests());
            prop_assert_eq!(Conversation::restored(kind, conversation.words()), conversation.clone());
            let is_between = conversation.is_between_requests();
            prop_assert!(!is_between || conversation.upstream_ended() == UpstreamEnd::BetweenRequests);
        }
    }

    #[test]
    fn whatever_words_an_earlier_process_has_left_are_read_once(words in words()) {
        for kind in [RequestKind::Http, RequestKind::Lines] {
            let mut conversation = Conversation::restored(kind, words);
            let again = Conversation::restored(kind, conversation.words());
            prop_assert_eq!(&again, &conversation);
            conversation.look_at_request(b"GET / HTTP/1.1\r\n\r\n", More::No);
            conversation.look_at_reply(b"HTTP/1.1 200 A\r\n\r\n", More::No);
        }
    }
}

/// Three words that could be some.
fn words() -> impl Strategy<Value = [u64; 3]> {
    let position = || prop_oneof![Just(0_u64), 0..1000_u64, Just((1 << 56) - 1), any::<u64>()];
    let word = move || {
        (0..10_u64, any::<bool>(), position()).prop_map(|(stage, is_odd, position)| {
            let odd = if is_odd { 0x80 } else { 0 };
            (stage | odd) << 56 | position
        })
    };
    let number = prop_oneof![0..3_u64, Just(u64::from(u32::MAX))];
    let flags = (0..24_u64, 0..16_u64, number)
        .prop_map(|(opaque, facts, number)| opaque | facts << 8 | number << 32);
    (prop_oneof![flags, any::<u64>()], word(), word())
        .prop_map(|(flags, reply, request)| [flags, reply, request])
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0..4_usize, 0..100_usize], 0..60)
}

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b";",
    b"\t",
    b"\0",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"CONNECT a HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 408 A\r\n",
    b"HTTP/1.1 100 A\r\n",
    b"HTTP/1.1 101 A\r\n",
    b"HTTP/",
    b"HTTP/1.1 204 A\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: +3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Connection: close\r\n",
    b"A: b\r\n",
    b"Authorization: NTLM a\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"1;a=b\r\nx\r\n",
    b"ffffffffffffff\r\n",
    b"abc",
    b"g",
    b"\x16\x03\x01",
    b"\xe9",
    b"\xc3\xa9",
];

/// What could be HTTP, with mistakes.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop_oneof![
        select(
            &[
                "",
                "GET / HTTP/1.1\r\n",
                "HTTP/1.1 200 A\r\n",
                "HTTP/1.1 100 A\r\n\r\nHTTP/1.1 200 A\r\n"
            ][..]
        ),
        select(
            &[
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n",
            ][..]
        ),
    ];
    let pieces = vec(select(PIECES), 0..12).prop_map(|pieces| pieces.concat());
    let repeated = (select(PIECES), 90..100_usize).prop_map(|(piece, count)| piece.repeat(count));
    let rest = prop_oneof![9 => pieces, 1 => repeated, 1 => vec(any::<u8>(), 0..50)];
    (beginning, rest).prop_map(|(beginning, rest)| [beginning.as_bytes(), &rest].concat())
}

/// The lengths that are there at each look: all of it after the last cut.
fn lengths(bytes: &[u8], cuts: &[usize]) -> impl Iterator<Item = usize> {
    let length = bytes.len();
    let there = cuts.iter().scan(0, |sum, cut| {
        *sum += cut;
        Some(*sum)
    });
    let there = there
        .take_while(move |there| *there < length)
        .collect::<Vec<_>>();
    there.into_iter().chain([length])
}

/// What becomes of a stream of requests, each of which is answered at once.
fn judged_requests(bytes: &[u8], cuts: &[usize]) -> Result<[u64; 3], Opaque> {
    let mut talk = Talk::http();
    for there in lengths(bytes, cuts) {
        while let Ok(at) = usize::try_from(talk.0.request_passes_until()) {
            let waiting = bytes[..there].get(at..).unwrap_or_default();
            match talk.0.look_at_request(waiting, More::MayCome) {
                Look::NeedsMore => break,
                Look::AwaitsReply => {
                    let kept = b"HTTP/1.1 204 A\r\nConnection: keep-alive\r\n\r\n";
                    talk.0.look_at_reply(kept, More::MayCome);
                }
                _ if talk.0.opaque().is_some() => break,
                _ => {}
            }
        }
    }
    talk.0.opaque().map_or(Ok(talk.0.words()), Err)
}

/// What becomes of a stream that replies to one request.
fn judged_replies(bytes: &[u8], cuts: &[usize]) -> Result<[u64; 3], Opaque> {
    let mut talk = Talk::http().ask(GET);
    for there in lengths(bytes, cuts) {
        loop {
            let at = usize::try_from(talk.0.reply_passes_until());
            let waiting = at.ok().and_then(|at| bytes[..there].get(at..));
            match talk
                .0
                .look_at_reply(waiting.unwrap_or_default(), More::MayCome)
            {
                Look::Passes if talk.0.reply_passes_until() < u64::MAX => {}
                // Part of a timeout is one, until more of it tells otherwise.
                Look::Surplus => talk.0.set_opaque(Opaque::Surplus),
                _ => break,
            }
        }
    }
    talk.0.opaque().map_or(Ok(talk.0.words()), Err)
}
