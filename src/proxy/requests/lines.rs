//! A request is a line, and so is its reply.

use super::facts::RequestFacts;
use super::look::{Look, More, unfinished};
use super::opaque::Opaque;
use super::standing::Standing;

/// Looks at what waits where the next request begins.
pub fn look_at_request(standing: &mut Standing, bytes: &[u8], more: More) -> Result<Look, Opaque> {
    let Some(length) = line(bytes) else {
        return unfinished_line(bytes, more);
    };
    standing.begin(RequestFacts::default());
    standing.pass_request(length as u64)?;
    Ok(Look::Passes)
}

/// Looks at what waits where a reply begins.
pub fn look_at_reply(standing: &mut Standing, bytes: &[u8], more: More) -> Result<Look, Opaque> {
    let Some(length) = line(bytes) else {
        return unfinished_line(bytes, more);
    };
    if length < bytes.len() {
        return Err(Opaque::Surplus);
    }
    standing.pass_reply(length as u64)?;
    standing.complete();
    Ok(Look::Passes)
}

/// The length of the first line.
fn line(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some(end + 1)
}

fn unfinished_line(bytes: &[u8], more: More) -> Result<Look, Opaque> {
    unfinished(bytes, more, (Opaque::LongLine, Opaque::UnfinishedLine))
}
