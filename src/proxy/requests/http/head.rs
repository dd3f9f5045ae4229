//! Heads, strictly.
//!
//! What is not plain (`plain_head.rs`) is read by `httparse`, a whole head at once. It takes a bare line feed for the end
//! of a line, which here is malformed. A head that is malformed or not whole is read again line by line, so that what is
//! wrong is found as soon as it is there, and that the reason is the same however the stream was cut.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::Fields;
use crate::proxy::requests::opaque::Opaque;

/// The most fields of a head.
pub const FIELDS_MAX: usize = 96;

/// Whether there is a line feed without a carriage return before it in a head that the parser has found whole.
pub fn has_bare_line_feed(head: &[u8], fields: &[Header<'_>]) -> bool {
    // The parser takes no line feed within a line. So if each line is seen to end as it should, there is no other one.
    !ends_are_seen(head, fields) && scan_for_bare_line_feed(head)
}

/// Whether the head begins with its first line, and each line ends with both characters, right behind its value.
fn ends_are_seen(head: &[u8], fields: &[Header<'_>]) -> bool {
    let offset = |part: &[u8]| part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    let is_end = |at: usize| head.get(at..at.wrapping_add(2)) == Some(b"\r\n");
    let is_field_end =
        |field: &Header<'_>| is_end(offset(field.value).wrapping_add(field.value.len()));
    let Some(first) = fields.first() else {
        return false;
    };
    head[0] != b'\n'
        && is_end(offset(first.name.as_bytes()).wrapping_sub(2))
        && fields.iter().all(is_field_end)
        && is_end(head.len() - 2)
}

fn scan_for_bare_line_feed(bytes: &[u8]) -> bool {
    let is_bare = |pair: &&[u8]| pair[1] == b'\n' && pair[0] != b'\r';
    // All of them are counted, which the processor does many at a time.
    bytes.first() == Some(&b'\n') || bytes.windows(2).filter(is_bare).count() > 0
}

/// What the fields of a whole head say.
pub fn fields(headers: &[Header<'_>]) -> Result<Fields, Opaque> {
    let mut fields = Fields::default();
    headers
        .iter()
        .try_for_each(|field| fields.read(field.name.as_bytes(), field.value))?;
    Ok(fields)
}

/// Looks for what is wrong in a head that is malformed or not whole. The caller checks the first line and its
/// end, whether it is whole or not.
pub fn check_lines(
    bytes: &[u8],
    check_first: impl FnOnce(&[u8]) -> Result<(), Opaque>,
) -> Result<(), Opaque> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    check_first(first)?;
    let mut fields = Fields::default();
    for (index, line) in lines.enumerate() {
        check_end(line)?;
        match line {
            b"\r\n" => return Err(Opaque::Malformed), // it is whole, so something is wrong with it
            [b'\r', ..] => {}
            _ if index >= FIELDS_MAX => return Err(Opaque::ManyFields),
            _ => {}
        }
        if let Some(field) = field(line)? {
            fields.read(field.name.as_bytes(), field.value)?;
        }
    }
    Ok(())
}

/// The field of a line, if that is whole.
pub fn field(line: &[u8]) -> Result<Option<Header<'_>>, Opaque> {
    let mut headers = [EMPTY_HEADER];
    match httparse::parse_headers(line, &mut headers) {
        Ok(Status::Partial) => Ok(line.ends_with(b"\n").then(|| headers[0])),
        _ => Err(Opaque::Malformed),
    }
}

/// A line that is whole ends with both characters.
pub fn check_end(line: &[u8]) -> Result<(), Opaque> {
    match line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
        true => Err(Opaque::Malformed),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::Request;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = String> {
        let field = prop::sample::select(vec!["A: b", "A:", "A:  ", "Ab: c d ", "A: \t"]);
        let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n")];
        (field, end).prop_map(|(field, end)| format!("{field}{end}"))
    }

    proptest! {
        #[test]
        fn a_line_feed_alone_is_found_wherever_it_is(
            before in prop_oneof![9 => Just(""), 1 => Just("\n"), 1 => Just("\r\n")],
            first in prop::sample::select(vec!["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\n"]),
            lines in prop::collection::vec(line(), 0..6),
            last in prop_oneof![4 => Just("\r\n"), 1 => Just("\n")],
        ) {
            let head = [before, first, &lines.concat(), last].concat();
            let mut headers = [EMPTY_HEADER; 6];
            let mut request = Request::new(&mut headers);
            let parsed = request.parse(head.as_bytes()).unwrap();
            prop_assert_eq!(parsed, Status::Complete(head.len()));
            let is_bare = scan_for_bare_line_feed(head.as_bytes());
            prop_assert_eq!(has_bare_line_feed(head.as_bytes(), request.headers), is_bare);
            prop_assert_eq!(head.replace("\r\n", "").contains('\n'), is_bare);
        }
    }

    #[test]
    fn the_ends_of_an_ordinary_head_are_seen_at_once() {
        let head = b"GET / HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n";
        let mut headers = [EMPTY_HEADER; 2];
        let mut request = Request::new(&mut headers);
        request.parse(head).unwrap();
        assert!(ends_are_seen(head, request.headers));
    }
}
