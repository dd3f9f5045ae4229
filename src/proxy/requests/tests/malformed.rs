//! What is ambiguous or wrong is passed on as it is, as soon as it can be seen.

use super::*;

/// Each ends where it can be seen that it is wrong.
const REQUESTS: [(&str, Opaque); 59] = [
    ("GET / HTTP/1.1\n", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\n", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\r\n\n", Opaque::Malformed),
    ("GET / HTTP/1.1\r\n\n", Opaque::Malformed),
    ("\n", Opaque::Malformed),
    ("\r\r", Opaque::Malformed),
    ("\r\n\n", Opaque::Malformed),
    ("\rG", Opaque::Malformed),
    ("GET / HTTP/1.1\rH", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\rC", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\r\r", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA\r", Opaque::Malformed),
    ("GET / HTTP/1.1\r\n\rA", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\r\n ", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: b\r\n\t", Opaque::Malformed),
    ("GET / HTTP/1.1\r\n ", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nContent-Length ", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nContent-Length\t", Opaque::Malformed),
    ("GET / HTTP/1.1\r\n:", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nno ", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: \0", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA\0", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: \x7f", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA: \x0b", Opaque::Malformed),
    ("GET / HTTP/1.1\r\nA\u{e9}", Opaque::Malformed),
    ("GET /\0", Opaque::Malformed),
    ("GET /\r", Opaque::Malformed),
    ("GET /\n", Opaque::Malformed),
    ("GET\r", Opaque::Malformed),
    ("GET  ", Opaque::Malformed),
    ("GET /  ", Opaque::Malformed),
    ("GET /\t", Opaque::Malformed),
    (" ", Opaque::Malformed),
    ("GET / HTTP/1.1 ", Opaque::Malformed),
    ("GET / HTTP/2", Opaque::Malformed),
    ("GET / HTTP/1.2", Opaque::Malformed),
    ("GET / HTTP/0", Opaque::Malformed),
    ("GET / h", Opaque::Malformed),
    ("GET / HTTPS", Opaque::Malformed),
    ("SSH-2.0-OpenSSH_9.2\r", Opaque::Malformed),
    ("\0", Opaque::Malformed),
    ("\u{80}", Opaque::Malformed),
    ("(", Opaque::Malformed),
    ("Head / HTTP/1.1\r\n", Opaque::Malformed),
    ("connect a:1 HTTP/1.1\r\n", Opaque::Connect),
    ("POST / HTTP/1.1\r\nContent-Length: +5\r\n", Opaque::Length),
    ("POST / HTTP/1.1\r\nContent-Length: -5\r\n", Opaque::Length),
    (
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n",
        Opaque::Length,
    ),
    ("POST / HTTP/1.1\r\nContent-Length: 0x5\r\n", Opaque::Length),
    ("POST / HTTP/1.1\r\nContent-Length: 05\r\n", Opaque::Length),
    ("POST / HTTP/1.1\r\nContent-Length:\r\n", Opaque::Length),
    ("POST / HTTP/1.1\r\nContent-Length: 5 5\r\n", Opaque::Length),
    (
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
        Opaque::Length,
    ),
    (
        "POST / HTTP/1.1\r\nContent-Length: 72057594037927936\r\n",
        Opaque::Length,
    ),
    ("POST / HTTP/1.1\r\nContent_Length: 5\r\n", Opaque::Length),
    (
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nA: b\r\ncontent-length: 5\r\n",
        Opaque::Length,
    ),
    (
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        Opaque::Length,
    ),
    (
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        Opaque::Length,
    ),
    (
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Opaque::Length,
    ),
];

const REPLIES: [(&str, Opaque); 32] = [
    ("\r", Opaque::Malformed),
    ("\n", Opaque::Malformed),
    ("h", Opaque::Malformed),
    ("<html>", Opaque::Malformed),
    ("\0", Opaque::Malformed),
    ("HTTP/1.1 200 OK\n", Opaque::Malformed),
    ("HTTP/1.1 200 OK\r\nA: b\n", Opaque::Malformed),
    ("HTTP/1.1 200 OK\r\n\n", Opaque::Malformed),
    ("HTTP/1.1 200 OK\rA", Opaque::Malformed),
    ("HTTP/1.1 20a", Opaque::Malformed),
    ("HTTP/1.1 2000", Opaque::Malformed),
    ("HTTP/1.1  ", Opaque::Malformed),
    ("HTTP/1.1 099 A\r\n", Opaque::Malformed),
    ("HTTP/1.1 600 A\r\n", Opaque::Malformed),
    ("HTTP/2", Opaque::Malformed),
    ("HTTP/1.2", Opaque::Malformed),
    ("HTTP/1.1 200 OK\r\nA: b\r\n ", Opaque::Malformed),
    ("HTTP/1.1 200 OK\r\nContent-Length ", Opaque::Malformed),
    ("HTTP/1.1 200 OK\r\nA: \0", Opaque::Malformed),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 204 A\r\nTransfer-Encoding: chunked\r\n\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 204 A\r\nContent-Length: 1\r\n\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 100 A\r\nContent-Length: 1\r\n\r\n",
        Opaque::Length,
    ),
    (
        "HTTP/1.1 100 A\r\nTransfer-Encoding: chunked\r\n\r\n",
        Opaque::Length,
    ),
    ("HTTP/1.0 100 A\r\n\r\n", Opaque::Malformed),
    (
        "HTTP/1.1 401 A\r\nWWW-Authenticate: Negotiate\r\n",
        Opaque::Login,
    ),
    (
        "HTTP/1.1 407 A\r\nProxy-Authenticate: Basic realm=\"a\", NTLM\r\n",
        Opaque::Login,
    ),
    (
        "HTTP/1.1 101 A\r\nUpgrade: WebSocket\r\n\r\n",
        Opaque::WebSocket,
    ),
    ("HTTP/1.1 101 A\r\nUpgrade: h2c\r\n\r\n", Opaque::Upgraded),
];

const ENCODINGS: [&str; 12] = [
    "",
    "Chunked",
    "CHUNKED",
    "xchunked",
    "\"chunked\"",
    "chunked;q=1",
    "chunked, chunked",
    "gzip, chunked",
    "chunked,",
    "identity",
    "gzip",
    "chunked\r\nTransfer-Encoding: chunked",
];

#[test]
fn a_malformed_request_is_opaque_as_soon_as_it_can_be_seen() {
    for (bytes, why) in REQUESTS {
        Talk::http().bad_request(bytes.as_bytes(), why);
        let end = bytes.char_indices().last().unwrap().0;
        if end > 0 {
            let mut talk = Talk::http();
            talk.0
                .look_at_request(&bytes.as_bytes()[..end], More::MayCome);
            assert_eq!(talk.0.opaque(), None, "{bytes:?}");
        }
    }
}

#[test]
fn what_follows_does_not_change_the_reason() {
    for (bytes, why) in REQUESTS {
        for more in ["a", "\r\n\r\n", "\n\n", "\0\0\0"] {
            let bytes = format!("{bytes}{more}");
            Talk::http().bad_request(bytes.as_bytes(), why);
        }
    }
}

#[test]
fn any_transfer_encoding_but_chunked_is_ambiguous() {
    for encoding in ENCODINGS {
        let field = format!("Transfer-Encoding: {encoding}\r\n");
        Talk::http().bad_request(
            format!("POST / HTTP/1.1\r\n{field}").as_bytes(),
            Opaque::Length,
        );
        let reply = format!("HTTP/1.1 200 OK\r\n{field}");
        Talk::http()
            .ask(GET)
            .bad_reply(reply.as_bytes(), Opaque::Length);
    }
    let underscore = b"POST / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n";
    Talk::http().bad_request(underscore, Opaque::Length);
}

#[test]
fn a_malformed_chunk_is_opaque_as_soon_as_it_can_be_seen() {
    let extension = format!("5;{}", "a".repeat(4096));
    for (bytes, why) in [
        ("g", Opaque::Chunk),
        (" 5", Opaque::Chunk),
        ("+5", Opaque::Chunk),
        ("-5", Opaque::Chunk),
        ("0x", Opaque::Chunk),
        ("5 ", Opaque::Chunk),
        ("5\n", Opaque::Chunk),
        ("5\ra", Opaque::Chunk),
        ("\r", Opaque::Chunk),
        (";", Opaque::Chunk),
        ("5;a\n", Opaque::Chunk),
        ("5;a\0", Opaque::Chunk),
        ("5;a\rb", Opaque::Chunk),
        ("5;\u{e9}", Opaque::Chunk),
        (&extension, Opaque::Chunk),
        ("000000000000005", Opaque::Chunk),
        ("ffffffffffffff\r\n", Opaque::Length),
        ("1\r\nab", Opaque::Chunk),
        ("1\r\na\n", Opaque::Chunk),
        ("1\r\na\r1", Opaque::Chunk),
        ("0\r\n\n", Opaque::Malformed),
        ("0\r\n ", Opaque::Malformed),
        ("0\r\nA ", Opaque::Malformed),
        ("0\r\nA: b\n", Opaque::Malformed),
        ("0\r\nA: b\r\n ", Opaque::Malformed),
        ("0\r\n\ra", Opaque::Malformed),
        ("0\r\nContent-Length: 5\r\n", Opaque::Length),
        ("0\r\ntransfer_encoding: chunked\r\n", Opaque::Length),
    ] {
        let field = "Transfer-Encoding: chunked\r\n\r\n";
        let head = format!("POST / HTTP/1.1\r\n{field}");
        Talk::http().bad_request(format!("{head}{bytes}").as_bytes(), why);
        Talk::http().ask(&head).bad_request(bytes.as_bytes(), why);
        let head = format!("HTTP/1.1 200 OK\r\n{field}");
        Talk::http()
            .ask(GET)
            .bad_reply(format!("{head}{bytes}").as_bytes(), why);
        Talk::http()
            .ask(GET)
            .reply(&head)
            .bad_reply(bytes.as_bytes(), why);
    }
}

#[test]
fn a_malformed_reply_is_opaque_as_soon_as_it_can_be_seen() {
    for (bytes, why) in REPLIES {
        Talk::http().ask(GET).bad_reply(bytes.as_bytes(), why);
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        Talk::http()
            .ask(GET)
            .bad_reply(format!("{interim}{bytes}").as_bytes(), why);
        let mut talk = Talk::http().ask(GET);
        talk.0
            .look_at_reply(&bytes.as_bytes()[..bytes.len() - 1], More::MayCome);
        if bytes.len() > 1 && !bytes.starts_with('<') {
            assert_eq!(talk.0.opaque(), None, "{bytes:?}");
        }
    }
}
