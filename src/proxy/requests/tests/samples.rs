//! Random conversations.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::{Happening, SampleExchange};

/// A body, and the field that says how it ends.
#[derive(Clone, Debug, Default)]
struct SampleBody {
    field: String,
    bytes: Vec<u8>,
}

/// Whatever it looks like.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 0..600),
        select(
            &[
                "HTTP/1.1 408 A\r\n\r\n",
                "0\r\n\r\n",
                "\r\n",
                "GET / HTTP/1.1\r\n\r\n"
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn of_length() -> impl Strategy<Value = SampleBody> {
    payload().prop_map(|bytes| SampleBody {
        field: format!("content-LENGTH:  {} \r\n", bytes.len()),
        bytes,
    })
}

fn chunked() -> impl Strategy<Value = SampleBody> {
    let extension = select(&["", ";a", ";a=\"b c\";d", ";"][..]);
    let chunk = (payload(), extension, any::<bool>());
    let chunk = chunk.prop_filter_map("the last one", |(bytes, extension, is_upper)| {
        let size = match is_upper {
            true => format!("{:X}", bytes.len()),
            false => format!("{:04x}", bytes.len()),
        };
        let line = format!("{size}{extension}\r\n");
        (!bytes.is_empty()).then(|| [line.as_bytes(), &bytes, b"\r\n"].concat())
    });
    let trailers = select(&["", "A: b\r\n", "A: b\r\nC:\r\n"][..]);
    let last = select(&["0", "00", "0;a"][..]);
    (vec(chunk, 0..5), last, trailers).prop_map(|(chunks, last, trailers)| {
        let end = format!("{last}\r\n{trailers}\r\n");
        SampleBody {
            field: "Transfer-Encoding: chunked\r\n".to_owned(),
            bytes: [chunks.concat(), end.into_bytes()].concat(),
        }
    })
}

fn fields() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("Host: a\r\n".to_owned()),
        Just("Empty:\r\n".to_owned()),
        Just("Connection: upgrade\r\nUpgrade: websocket\r\n".to_owned()),
        "[a-z]{10,19}: [ -~é\t]{0,60}\r\n",
    ];
    vec(field, 0..8).prop_map(|fields| fields.concat())
}

#[derive(Clone, Debug)]
struct SampleRequest {
    method: &'static str,
    is_old: bool,
    closes: bool,
    leading: usize,
    body: SampleBody,
    fields: String,
    is_early: bool,
}

fn request() -> impl Strategy<Value = SampleRequest> {
    let body = prop_oneof![Just(SampleBody::default()), of_length(), chunked()];
    let method = select(&["GET", "HEAD", "POST", "PUT", "M-SEARCH"][..]);
    let rare = || prop::bool::weighted(0.1);
    let parts = (
        method,
        rare(),
        rare(),
        0..3_usize,
        body,
        fields(),
        any::<bool>(),
    );
    parts.prop_map(
        |(method, is_old, closes, leading, body, fields, is_early)| SampleRequest {
            method,
            is_old: is_old && !body.field.starts_with('T'),
            closes,
            leading: leading / 2 * 2,
            body,
            fields,
            is_early,
        },
    )
}

/// How a reply ends.
#[derive(Clone, Debug)]
enum SampleEnd {
    Body(SampleBody),
    None(u16),
    Connection(Vec<u8>),
}

#[derive(Clone, Debug)]
struct SampleReply {
    interims: usize,
    closes: bool,
    end: SampleEnd,
    fields: String,
}

fn reply() -> impl Strategy<Value = SampleReply> {
    let end = prop_oneof![
        4 => of_length().prop_map(SampleEnd::Body),
        4 => chunked().prop_map(SampleEnd::Body),
        2 => select(&[204, 304][..]).prop_map(SampleEnd::None),
        1 => payload().prop_map(SampleEnd::Connection),
    ];
    let parts = (0..3_usize, prop::bool::weighted(0.05), end, fields());
    parts.prop_map(|(interims, closes, end, fields)| SampleReply {
        interims,
        closes,
        end,
        fields,
    })
}

fn exchange((asked, replied): (SampleRequest, SampleReply)) -> SampleExchange {
    let version = if asked.is_old { "1.0" } else { "1.1" };
    let connection = match (asked.closes, asked.is_old) {
        (true, false) => "Connection: close\r\n",
        (false, true) => "Connection: keep-alive\r\n",
        _ => "",
    };
    let line = format!("{} / HTTP/{version}\r\n{connection}", asked.method);
    let head = format!("{line}{}{}\r\n", asked.body.field, asked.fields);
    let request = ["\r\n".repeat(asked.leading / 2), head]
        .concat()
        .into_bytes();
    let (head, is_chunked) = (
        request.len(),
        matches!(&replied.end, SampleEnd::Body(body) if body.field.starts_with('T')),
    );
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let interims = if asked.is_old { 0 } else { replied.interims };
    // A client of HTTP/1.0 gets no chunks.
    let end = match replied.end {
        SampleEnd::Body(_) if is_chunked && asked.is_old => SampleEnd::None(204),
        end => end,
    };
    let (status, body) = match &end {
        SampleEnd::Body(body) => (200, body.clone()),
        SampleEnd::None(status) => (*status, SampleBody::default()),
        SampleEnd::Connection(bytes) => (
            200,
            SampleBody {
                bytes: bytes.clone(),
                ..SampleBody::default()
            },
        ),
    };
    let bytes = if asked.method == "HEAD" {
        Vec::new()
    } else {
        body.bytes
    };
    let connection = match (replied.closes, asked.is_old) {
        (true, _) => "Connection: x, close\r\n",
        (false, true) => "Connection: keep-alive\r\n",
        _ => "",
    };
    let line = format!(
        "{}HTTP/1.1 {status} A b\r\n{connection}",
        interim.repeat(interims)
    );
    let reply = format!("{line}{}{}\r\n", body.field, replied.fields);
    let is_until_end = matches!(end, SampleEnd::Connection(_)) && asked.method != "HEAD";
    SampleExchange {
        request: [request, asked.body.bytes].concat(),
        leading: asked.leading,
        head,
        reply: [reply.into_bytes(), bytes].concat(),
        is_early: asked.is_early,
        is_last: asked.closes || replied.closes || is_until_end,
        is_until_end,
    }
}

/// Requests and replies up to the last one of the connection.
pub fn http() -> impl Strategy<Value = Vec<SampleExchange>> {
    vec((request(), reply()).prop_map(exchange), 1..8).prop_map(|mut exchanges| {
        let last = exchanges.iter().position(|exchange| exchange.is_last);
        exchanges.truncate(last.map_or(usize::MAX, |last| last + 1));
        exchanges
    })
}

/// Lines and lines in reply.
pub fn lines() -> impl Strategy<Value = Vec<SampleExchange>> {
    let line = || "[^\n]{0,200}\n".prop_map(String::into_bytes);
    let exchange = (line(), line()).prop_map(|(request, reply)| SampleExchange {
        leading: 0,
        head: request.len(),
        request,
        reply,
        is_early: false,
        is_last: false,
        is_until_end: false,
    });
    vec(exchange, 1..8)
}

/// What happens, in any order.
pub fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let some = || prop_oneof![1..4_u16, 1..200_u16, 1..2000_u16];
    let happening = prop_oneof![
        5 => some().prop_map(Happening::Asks),
        5 => some().prop_map(Happening::Replies),
        1 => Just(Happening::Detaches),
    ];
    vec(happening, 0..100)
}
