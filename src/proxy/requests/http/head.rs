//! Heads, strictly.
//!
//! `httparse` reads a whole head at once. It takes a bare line feed for the end of a line, which here is
//! malformed. A head that is malformed or not whole is read again line by line, so that what is wrong is
//! found as soon as it is there, and that the reason is the same however the stream was cut.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::Fields;
use crate::proxy::requests::opaque::Opaque;

/// The most fields of a head.
pub const FIELDS_MAX: usize = 96;

/// Whether there is a line feed without a carriage return before it.
pub fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let is_bare = |pair: &&[u8]| pair[1] == b'\n' && pair[0] != b'\r';
    // All of them are counted, which the processor does many at a time.
    bytes.first() == Some(&b'\n') || bytes.windows(2).filter(is_bare).count() > 0
}

/// What the fields of a whole head say.
pub fn fields(headers: &[Header<'_>]) -> Result<Fields, Opaque> {
    let mut fields = Fields::default();
    headers.iter().try_for_each(|field| fields.read(field))?;
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
            fields.read(&field)?;
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
