//! Replies.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Response, Status};

use super::body::{BodyEnd, chunks};
use super::fields::Fields;
use super::head::{FIELDS_MAX, check_end, check_lines, fields, has_bare_line_feed};
use super::plain_head::PlainHead;
use crate::proxy::requests::facts::RequestFacts;
use crate::proxy::requests::kind::RequestKind;
use crate::proxy::requests::look::{Look, More, unfinished};
use crate::proxy::requests::opaque::Opaque;
use crate::proxy::requests::stages::{ChunkPart, ReplyStage};
use crate::proxy::requests::standing::Standing;
use crate::proxy::requests::surplus::surplus;

/// A whole head.
#[derive(Debug)]
struct ReplyHead {
    length: usize,
    /// Whether it is provisional (1xx); otherwise how its body ends.
    body: Option<BodyEnd>,
    closes: bool,
}

/// Looks at what waits at the beginning of a reply or in it.
pub fn look_at_reply(standing: &mut Standing, bytes: &[u8], more: More) -> Result<Look, Opaque> {
    let mut rest = bytes;
    loop {
        let passed = match standing.reply {
            ReplyStage::Awaited | ReplyStage::Interim => pass_head(standing, rest)?,
            ReplyStage::Chunked(part) => pass_chunks(standing, part, rest)?,
            ReplyStage::UntilEnd => return Ok(Look::Passes),
            ReplyStage::Complete | ReplyStage::Closing => {
                // No other request has been passed on.
                if !rest.is_empty() {
                    surplus(RequestKind::Http, standing, rest, more)?;
                }
                return Ok(Look::Passes);
            }
        };
        match usize::try_from(passed).ok().and_then(|at| rest.get(at..)) {
            _ if passed == 0 && rest.len() < bytes.len() => return Ok(Look::Passes),
            _ if passed == 0 => return unfinished_head(bytes, more),
            Some(left) => rest = left,
            None => return Ok(Look::Passes), // beyond what is here
        }
    }
}

fn unfinished_head(bytes: &[u8], more: More) -> Result<Look, Opaque> {
    unfinished(bytes, more, (Opaque::LongHead, Opaque::UnfinishedHead))
}

/// Has a head pass, and with it a body of known length. Nothing, if it is not whole.
fn pass_head(standing: &mut Standing, bytes: &[u8]) -> Result<u64, Opaque> {
    let Some(head) = head(bytes, &standing.facts)? else {
        return Ok(0);
    };
    let mut passes = head.length as u64;
    standing.facts.closes |= head.closes;
    match head.body {
        None => standing.reply = ReplyStage::Interim,
        Some(BodyEnd::Length(length)) => {
            passes = passes.saturating_add(length);
            standing.complete();
        }
        Some(BodyEnd::Chunked) => standing.reply = ReplyStage::Chunked(ChunkPart::Size),
        Some(BodyEnd::Connection) => standing.reply = ReplyStage::UntilEnd,
    }
    standing.pass_reply(passes)?;
    Ok(passes)
}

fn pass_chunks(standing: &mut Standing, part: ChunkPart, bytes: &[u8]) -> Result<u64, Opaque> {
    let progress = chunks(part, bytes)?;
    standing.pass_reply(progress.passes)?;
    match progress.next {
        Some(part) => standing.reply = ReplyStage::Chunked(part),
        None => standing.complete(),
    }
    Ok(progress.passes)
}

/// The head at the beginning of the bytes, if it is whole.
fn head(bytes: &[u8], request: &RequestFacts) -> Result<Option<ReplyHead>, Opaque> {
    // The parser would skip empty lines.
    if bytes.first().is_some_and(|byte| *byte != b'H') {
        return Err(Opaque::Malformed);
    }
    let plain = PlainHead::read(bytes);
    if let Some((status, plain)) = plain.and_then(|plain| Some((plain.status()?, plain))) {
        check_status(status)?;
        return understand(status, false, plain.length, plain.fields, request).map(Some);
    }
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut reply = Response::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut reply, bytes, &mut headers) {
        Ok(Status::Complete(length)) if !has_bare_line_feed(&bytes[..length], reply.headers) => {
            let status = reply.code.unwrap_or_default();
            check_status(status)?;
            let fields = fields(reply.headers)?;
            understand(status, reply.version != Some(1), length, fields, request).map(Some)
        }
        Ok(Status::Partial) => check_lines(bytes, check_line).map(|()| None),
        _ => Err(check_lines(bytes, check_line)
            .err()
            .unwrap_or(Opaque::Malformed)),
    }
}

fn understand(
    status: u16,
    is_old: bool,
    length: usize,
    fields: Fields,
    request: &RequestFacts,
) -> Result<ReplyHead, Opaque> {
    if is_old && fields.is_chunked {
        return Err(Opaque::Length);
    }
    let body = match status {
        101 if fields.is_websocket => return Err(Opaque::WebSocket),
        101 => return Err(Opaque::Upgraded),
        // A client of HTTP/1.0 does not know them.
        100..200 if is_old || request.is_old => return Err(Opaque::Malformed),
        100..200 => no_body(&fields).map(|_| None)?,
        204 => no_body(&fields).map(Some)?,
        _ if request.is_head || status == 304 => Some(BodyEnd::Length(0)),
        _ => Some(body_end(&fields, request)?),
    };
    let is_kept = fields.keeps_alive || !is_old && !request.is_old;
    Ok(ReplyHead {
        length,
        closes: body.is_some() && (fields.closes || !is_kept),
        body,
    })
}

/// A message that has no body must not announce one.
fn no_body(fields: &Fields) -> Result<BodyEnd, Opaque> {
    match fields.is_chunked || fields.length.unwrap_or(0) > 0 {
        true => Err(Opaque::Length),
        false => Ok(BodyEnd::Length(0)),
    }
}

fn body_end(fields: &Fields, request: &RequestFacts) -> Result<BodyEnd, Opaque> {
    match fields.length {
        // A client of HTTP/1.0 would read the chunks as the body, until the end.
        _ if fields.is_chunked && request.is_old => Err(Opaque::Length),
        _ if fields.is_chunked => Ok(BodyEnd::Chunked),
        Some(length) => Ok(BodyEnd::Length(length)),
        None => Ok(BodyEnd::Connection),
    }
}

fn check_status(status: u16) -> Result<(), Opaque> {
    match status {
        100..600 => Ok(()),
        _ => Err(Opaque::Malformed),
    }
}

/// Checks the first line, which may not be whole.
fn check_line(line: &[u8]) -> Result<(), Opaque> {
    let mut reply = Response::new(&mut []);
    let Ok(Status::Partial) = reply.parse(line) else {
        return Err(Opaque::Malformed);
    };
    check_end(line)?;
    match line.ends_with(b"\n") {
        true => check_status(reply.code.unwrap_or_default()),
        false => Ok(()),
    }
}
