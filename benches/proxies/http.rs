//! The same requests and replies in HTTP/1.1, with a few usual header fields. A proxy may change the
//! heads, so both sides read them; what the body is, the path says.

use std::io::{self, Write};

use httparse::{EMPTY_HEADER, Header, Status};

use crate::pattern::{LONGEST_REPLY, PERIOD, Request};

/// The longest head, whatever a proxy adds.
pub const LONGEST_HEAD: usize = 1024;

/// Fields of a head, whatever a proxy adds.
const FIELDS: usize = 16;

/// Writes the request for a piece of the pattern.
pub fn write_request(to: &mut Vec<u8>, offset: usize, length: usize) -> io::Result<()> {
    write!(
        to,
        "GET /{offset}/{length} HTTP/1.1\r\n\
         Host: localhost\r\n\
         User-Agent: proxies\r\n\
         Accept: */*\r\n\
         Accept-Encoding: gzip\r\n\
         \r\n"
    )
}

/// Writes the head of the reply.
pub fn write_reply_head(to: &mut Vec<u8>, length: usize) -> io::Result<()> {
    write!(
        to,
        "HTTP/1.1 200 OK\r\n\
         Server: proxies\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: {length}\r\n\
         \r\n"
    )
}

/// What a client wants. `None` while its request is not complete.
///
/// # Errors
///
/// When it is not what a client has sent.
pub fn request(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        Ok(Status::Complete(length)) if length == bytes.len() => {}
        _ => return Err("no request"),
    }
    let path = head.path.unwrap_or_default();
    let numbers = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .and_then(|(offset, length)| Some((offset.parse().ok()?, length.parse().ok()?)));
    match numbers {
        Some((offset, length)) if offset < PERIOD && length <= LONGEST_REPLY => {
            Ok(Some(Request::Piece { offset, length }))
        }
        _ => Err("another path"),
    }
}

/// Where the body of a reply begins, and its length. `None` while the head is not complete.
///
/// # Errors
///
/// When it is another reply than that of our service.
pub fn body(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let begin = match head.parse(bytes) {
        Ok(Status::Complete(begin)) => begin,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("an answer is malformed: {error}")),
    };
    match (head.code, content_length(head.headers)) {
        (Some(200), Some(length)) => Ok(Some((begin, length))),
        (Some(200), None) => Err("an answer has no length".to_owned()),
        (status, _) => Err(format!("an answer has status {}", status.unwrap_or(0))),
    }
}

fn content_length(fields: &[Header<'_>]) -> Option<usize> {
    let field = fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(field.value).ok()?.parse().ok()
}
