//! Bytes of the service that nothing has asked for.

use super::kind::RequestKind;
use super::look::{LOOK_MAX, Look, More};
use super::opaque::Opaque;
use super::standing::Standing;

/// What bytes are that come after a complete reply.
///
/// A service that has waited too long for a request may say so before it ends the connection (408, RFC 9110,
/// section 15.5.9). The client has not asked for that, and is not told of the end either. The same holds for
/// anything that a service sends just before it ends, if a reply says exactly where it is complete.
pub fn surplus(
    kind: RequestKind,
    standing: &Standing,
    bytes: &[u8],
    more: More,
) -> Result<Look, Opaque> {
    let is_timeout = [b"HTTP/1.1 408", b"HTTP/1.0 408"].iter().any(|line| {
        let length = bytes.len().min(line.len());
        bytes[..length] == line[..length]
    });
    let has_ended = more == More::No && bytes.len() < LOOK_MAX;
    let is_idle = standing.is_idle() && !standing.client_has_ended;
    match kind {
        RequestKind::Http if is_idle && (is_timeout || has_ended) => Ok(Look::Surplus),
        _ => Err(Opaque::Surplus),
    }
}
