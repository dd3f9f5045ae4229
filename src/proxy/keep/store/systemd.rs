//! systemd's store: putting into it, and taking out again.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;

use crate::proxy::keep::error::KeepError;
use crate::service::activation::Inherited;
use crate::service::kernel::poll_now;
use crate::service::notify::{self, StoreError};

/// The name of its descriptors in `LISTEN_FDNAMES`. Every other name that begins with this one is reserved:
/// a version that uses it may have been killed before it took that out of the store again.
pub const NAME: &str = "kept-connections";

/// systemd answers at once unless it is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Separates what was kept, for [`crate::proxy::keep::start`], from the sockets that systemd hands over.
/// What is in the store under another name of ours is of no use, and is taken out.
pub fn separate(inherited: Vec<Inherited>) -> (Vec<OwnedFd>, Vec<Inherited>) {
    let (mut kept, mut sockets, mut useless) = (Vec::new(), Vec::new(), BTreeSet::new());
    for Inherited { fd, name } in inherited {
        match name.strip_prefix(NAME) {
            None => sockets.push(Inherited { fd, name }),
            Some("") => kept.push(fd),
            Some(_) => _ = useless.insert(name),
        }
    }
    for name in useless {
        match notify::unstore(&name) {
            Ok(()) => tracing::debug!("{name} is of no use, and was taken out of the store"),
            Err(error) => tracing::warn!(
                ERROR = %error,
                "{name} is of no use, and cannot be taken out of the store: {error}"
            ),
        }
    }
    (kept, sockets)
}

/// Puts everything into the store, and finds out whether it is kept.
///
/// systemd does not report that it keeps no (more) descriptors, but closes those that it does not want. So
/// one end of a pipe goes behind the others, and stays there: if it is still open when systemd has
/// processed the message, all of them are kept. (From version 254 on there is `$FDSTORE` as well, which
/// gives only what is configured.)
pub fn put(parts: Vec<BorrowedFd<'_>>) -> Result<(), KeepError> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut parts = parts;
    parts.push(write.as_fd());
    notify::store(NAME, &parts)?;
    drop(write);
    let error = match notify::barrier(PATIENCE) {
        Ok(()) if !has_hung_up(read.as_fd()) => return Ok(()),
        Ok(()) => KeepError::Refused,
        Err(error) => error.into(),
    };
    notify::unstore(NAME)?;
    Err(error)
}

/// Takes everything out of the store.
pub fn remove() -> Result<(), StoreError> {
    notify::unstore(NAME)?;
    notify::barrier(PATIENCE)
}

fn has_hung_up(end: BorrowedFd<'_>) -> bool {
    poll_now(end, PollFlags::empty()).is_ok_and(|flags| !flags.is_empty())
}
