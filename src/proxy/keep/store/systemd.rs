//! systemd's store: putting into it, and taking out again.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::proxy::keep::error::KeepError;
use crate::service::activation::Inherited;
use crate::service::notify::{self, StoreError};

/// What they are called in `LISTEN_FDNAMES`. Every other name that begins with this one is reserved: a
/// version that uses it may have been killed before it took that out of the store again.
pub const NAME: &str = "kept-connections";

/// systemd answers at once unless it is busy with something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Separates what was kept, which [`crate::proxy::keep::start`] takes, from the sockets that systemd hands over. What
/// is in the store under another name of ours is of no use, and is taken out.
pub fn separate(inherited: Vec<Inherited>) -> (Vec<OwnedFd>, Vec<Inherited>) {
    let (ours, sockets): (Vec<Inherited>, Vec<Inherited>) = inherited
        .into_iter()
        .partition(|descriptor| descriptor.name.starts_with(NAME));
    let (kept, useless): (Vec<Inherited>, Vec<Inherited>) = ours
        .into_iter()
        .partition(|descriptor| descriptor.name == NAME);
    let names: BTreeSet<String> = useless.into_iter().map(|useless| useless.name).collect();
    for name in names {
        match notify::unstore(&name) {
            Ok(()) => tracing::debug!("{name} is of no use, and was taken out of the store"),
            Err(error) => tracing::warn!(
                ERROR = %error,
                "{name} is of no use, and cannot be taken out of the store: {error}"
            ),
        }
    }
    (kept.into_iter().map(|kept| kept.fd).collect(), sockets)
}

/// Has systemd keep everything, and finds out whether it does.
///
/// It says nothing when it keeps no (more) descriptors, but closes those that it does not want. So one
/// end of a pipe goes behind the others, and stays there: if it is still open when the message was acted
/// upon, all of them are kept. (From version 254 on there is `$FDSTORE` as well, which only tells what is
/// configured.)
pub fn put(parts: Vec<BorrowedFd<'_>>) -> Result<(), KeepError> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut parts = parts;
    parts.push(write.as_fd());
    notify::store(NAME, &parts)?;
    drop(write);
    let kept = match notify::barrier(PATIENCE) {
        Ok(()) if !has_hung_up(read.as_fd()) => return Ok(()),
        Ok(()) => KeepError::Refused,
        Err(error) => error.into(),
    };
    notify::unstore(NAME)?;
    Err(kept)
}

/// Has systemd keep nothing any more.
pub fn remove() -> Result<(), StoreError> {
    notify::unstore(NAME)?;
    notify::barrier(PATIENCE)
}

fn has_hung_up(end: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(end, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
