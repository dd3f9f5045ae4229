//! Where a body ends.

use super::fields::says_where_it_ends;
use super::head::{check_end, field};
use crate::proxy::requests::opaque::Opaque;
use crate::proxy::requests::stages::ChunkPart;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Connection,
}

/// How far the bytes of a body in chunks tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkProgress {
    /// So many bytes may pass, also of those that have not come yet.
    pub passes: u64,
    /// What is expected after them; `None` if the body is complete.
    pub next: Option<ChunkPart>,
}

/// The longest line with the size of a chunk.
const SIZE_LINE_MAX: usize = 4096;
/// The most digits of a size: those of the highest position.
const DIGITS_MAX: usize = 14;

/// Looks at the bytes of a body in chunks.
pub fn chunks(mut part: ChunkPart, bytes: &[u8]) -> Result<ChunkProgress, Opaque> {
    let mut passes = 0;
    // The bytes of a chunk may reach beyond those that are here.
    while let Some(rest) = usize::try_from(passes).ok().and_then(|at| bytes.get(at..)) {
        let (length, next) = match part {
            ChunkPart::DataEnd => data_end(rest)?,
            ChunkPart::Size => size_line(rest)?,
            ChunkPart::Trailer => trailer(rest)?,
        };
        passes += length;
        match next {
            Some(_) if length == 0 => break,
            Some(next) => part = next,
            None => return Ok(ChunkProgress { passes, next }),
        }
    }
    let next = Some(part);
    Ok(ChunkProgress { passes, next })
}

/// A part's length, and what comes behind it. The length is 0 if the part is not whole.
type MeasuredPart = Result<(u64, Option<ChunkPart>), Opaque>;

fn data_end(bytes: &[u8]) -> MeasuredPart {
    match bytes {
        [b'\r', b'\n', ..] => Ok((2, Some(ChunkPart::Size))),
        [] | [b'\r'] => Ok((0, Some(ChunkPart::DataEnd))),
        _ => Err(Opaque::Chunk),
    }
}

fn size_line(bytes: &[u8]) -> MeasuredPart {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let (number, rest) = bytes.split_at(digits);
    let is_extended = rest.first() == Some(&b';');
    let is_in_extension = |byte: &&u8| matches!(byte, b'\t' | b' '..=b'~');
    let extension = match is_extended {
        true => rest.iter().take_while(is_in_extension).count(),
        false => 0,
    };
    let has_number = digits > 0 || bytes.is_empty();
    if !has_number || digits > DIGITS_MAX || digits + extension > SIZE_LINE_MAX {
        return Err(Opaque::Chunk);
    }
    match &rest[extension..] {
        [] | [b'\r'] => Ok((0, Some(ChunkPart::Size))),
        [b'\r', b'\n', ..] => {
            let line = (digits + extension + 2) as u64;
            match hexadecimal(number) {
                0 => Ok((line, Some(ChunkPart::Trailer))),
                size => Ok((line + size, Some(ChunkPart::DataEnd))),
            }
        }
        _ => Err(Opaque::Chunk),
    }
}

/// The value of at most [`DIGITS_MAX`] digits.
fn hexadecimal(digits: &[u8]) -> u64 {
    let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).unwrap_or_default());
    digits.iter().fold(0, |sum, byte| sum << 4 | digit(byte))
}

fn trailer(bytes: &[u8]) -> MeasuredPart {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    check_end(line)?;
    match line {
        b"\r\n" => return Ok((2, None)),
        b"\r" => return Ok((0, Some(ChunkPart::Trailer))),
        _ => {}
    }
    let length = match field(line)? {
        Some(field) if says_where_it_ends(field.name.as_bytes()) => return Err(Opaque::Length),
        Some(_) => line.len(),
        None => 0,
    };
    Ok((length as u64, Some(ChunkPart::Trailer)))
}
