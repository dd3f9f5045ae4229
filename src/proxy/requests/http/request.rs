//! Requests.

use std::mem::MaybeUninit;

use httparse::{Request, Status};

use super::body::{BodyEnd, chunks};
use super::fields::Fields;
use super::head::{FIELDS_MAX, check_end, check_lines, fields, has_bare_line_feed};
use super::plain_head::PlainHead;
use crate::proxy::requests::facts::RequestFacts;
use crate::proxy::requests::look::{Look, More, unfinished};
use crate::proxy::requests::opaque::Opaque;
use crate::proxy::requests::stages::{ChunkPart, RequestStage};
use crate::proxy::requests::standing::Standing;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How the preface of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// The methods that are idempotent (RFC 9110, section 9.2.2).
const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"];

/// A whole head.
#[derive(Debug)]
struct RequestHead {
    length: usize,
    facts: RequestFacts,
    body: BodyEnd,
}

/// Looks at what waits where the next request begins.
pub fn look_at_request(standing: &mut Standing, bytes: &[u8], more: More) -> Result<Look, Opaque> {
    // Empty lines before a request mean nothing (RFC 9112, section 2.2).
    let empty = 2 * bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count();
    standing.pass_request(empty as u64)?;
    let (head, bytes) = match &bytes[empty..] {
        [] | [b'\r'] => (None, &bytes[empty..]),
        bytes => (head(bytes)?, bytes),
    };
    let Some(head) = head else {
        return match empty {
            0 => unfinished_head(bytes, more),
            _ => Ok(Look::Passes),
        };
    };
    standing.begin(head.facts);
    standing.pass_request(head.length as u64)?;
    match head.body {
        BodyEnd::Length(length) => standing.pass_request(length)?,
        BodyEnd::Chunked => {
            pass_chunks(standing, ChunkPart::Size, &bytes[head.length..]).map(drop)?
        }
        BodyEnd::Connection => {} // replies only
    }
    Ok(Look::Passes)
}

/// Looks at what waits within a body in chunks.
pub fn look_at_body(
    standing: &mut Standing,
    part: ChunkPart,
    bytes: &[u8],
    more: More,
) -> Result<Look, Opaque> {
    match pass_chunks(standing, part, bytes)? {
        0 => unfinished_head(bytes, more),
        _ => Ok(Look::Passes),
    }
}

fn pass_chunks(standing: &mut Standing, part: ChunkPart, bytes: &[u8]) -> Result<u64, Opaque> {
    let progress = chunks(part, bytes)?;
    standing.request = progress
        .next
        .map_or(RequestStage::Whole, RequestStage::Chunked);
    standing.pass_request(progress.passes)?;
    Ok(progress.passes)
}

fn unfinished_head(bytes: &[u8], more: More) -> Result<Look, Opaque> {
    unfinished(bytes, more, (Opaque::LongHead, Opaque::UnfinishedHead))
}

/// The head at the beginning of the bytes, if it is whole.
fn head(bytes: &[u8]) -> Result<Option<RequestHead>, Opaque> {
    let plain = PlainHead::read(bytes);
    if let Some((method, plain)) = plain.and_then(|plain| Some((plain.method()?, plain))) {
        check_method(method)?;
        return understand(method, false, plain.length, plain.fields).map(Some);
    }
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) if !has_bare_line_feed(&bytes[..length], request.headers) => {
            let method = request.method.unwrap_or_default().as_bytes();
            check_method(method)?;
            let fields = fields(request.headers)?;
            understand(method, request.version != Some(1), length, fields).map(Some)
        }
        Ok(Status::Partial) => check_lines(bytes, check_line).map(|()| None),
        _ => Err(check_lines(bytes, check_line)
            .err()
            .unwrap_or(Opaque::Malformed)),
    }
}

fn understand(
    method: &[u8],
    is_old: bool,
    length: usize,
    fields: Fields,
) -> Result<RequestHead, Opaque> {
    if is_old && fields.is_chunked {
        return Err(Opaque::Length);
    }
    Ok(RequestHead {
        length,
        facts: RequestFacts {
            is_idempotent: IDEMPOTENT.contains(&method),
            is_head: method == b"HEAD",
            is_old,
            closes: fields.closes || is_old && !fields.keeps_alive,
        },
        body: match fields.is_chunked {
            true => BodyEnd::Chunked,
            false => BodyEnd::Length(fields.length.unwrap_or(0)),
        },
    })
}

/// `CONNECT` asks for a tunnel; and what only looks like these two may be taken for them.
fn check_method(method: &[u8]) -> Result<(), Opaque> {
    match method {
        _ if method.eq_ignore_ascii_case(b"CONNECT") => Err(Opaque::Connect),
        _ if method != b"HEAD" && method.eq_ignore_ascii_case(b"HEAD") => Err(Opaque::Malformed),
        _ => Ok(()),
    }
}

/// Checks the first line, which may not be whole.
fn check_line(line: &[u8]) -> Result<(), Opaque> {
    let mut request = Request::new(&mut []);
    match request.parse(line) {
        Ok(Status::Partial) => {}
        _ if line.first() == Some(&TLS_HANDSHAKE) => return Err(Opaque::Tls),
        _ if line.starts_with(PREFACE) => return Err(Opaque::Http2),
        _ => return Err(Opaque::Malformed),
    }
    check_end(line)?;
    match line.ends_with(b"\n") {
        true => check_method(request.method.unwrap_or_default().as_bytes()),
        false => Ok(()),
    }
}
