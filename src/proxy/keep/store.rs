//! What systemd keeps for the next process: two memory files and the sockets of the lots.
//!
//! All of them under one name and with one message, so that it has all of them or none. Their inodes
//! are in the table, which tells them apart.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use super::layout::{BUFFER, PAIRS};
use super::lots::{self, Pair};
use super::table::{Table, TableError};
use super::{Core, KeepError, Options, mapping};
use crate::service::notify::{self, StoreError};

/// What they are called in `LISTEN_FDNAMES`.
pub const NAME: &str = "kept-connections";

/// What the descriptor is called by which it is found out whether systemd keeps any.
const PROBE: &str = "kept-connections-probe";

/// systemd answers at once unless it is busy with something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was in the store.
pub(super) enum Stored {
    /// Nothing.
    Nothing,
    /// Something that this version does not understand.
    Foreign(Vec<OwnedFd>),
    /// All that is needed.
    Ours(Box<Parts>),
}

/// Everything that is kept.
pub(super) struct Parts {
    pub(super) table: Table,
    pub(super) buffers: OwnedFd,
    pub(super) lots: [Pair; PAIRS],
    pub(super) will: Pair,
}

impl Parts {
    /// Makes them.
    pub(super) fn new(options: &Options<'_>) -> Result<Self, KeepError> {
        let table = Table::new(options.connections, options.buffers)?;
        let buffers = mapping::memory_file("kept-bytes", table.buffer_bytes())?;
        let mut pairs = Vec::new();
        for _ in 0..=PAIRS {
            pairs.push(lots::pair().map_err(std::io::Error::from)?);
        }
        let all = std::iter::once(buffers.as_fd()).chain(pairs.iter().flatten().map(AsFd::as_fd));
        for (part, inode) in all.zip(&table.header().parts) {
            inode.store(Table::inode(part)?, Release);
        }
        Self::of(table, buffers, pairs).ok_or(KeepError::Refused)
    }

    /// The last pair is the will's.
    fn of(table: Table, buffers: OwnedFd, mut pairs: Vec<Pair>) -> Option<Self> {
        let will = pairs.pop()?;
        Some(Self {
            table,
            buffers,
            lots: pairs.try_into().ok()?,
            will,
        })
    }
}

/// Finds out what is what.
pub(super) fn recognise(
    mut stored: Vec<OwnedFd>,
    options: &Options<'_>,
) -> Result<Stored, KeepError> {
    if stored.is_empty() {
        return Ok(Stored::Nothing);
    }
    let Some(index) = stored.iter().position(|file| Table::is_one(file.as_fd())) else {
        return Ok(Stored::Foreign(stored));
    };
    let file = stored.swap_remove(index);
    let table = match Table::adopt(file, options.connections) {
        Ok(table) => table,
        Err(TableError::Foreign) => return Ok(Stored::Foreign(stored)),
        Err(TableError::System(error)) => return Err(error.into()),
    };
    let mut parts = Vec::new();
    for (number, inode) in table.header().parts.iter().enumerate() {
        let wanted = inode.load(Acquire);
        let is_it = |part: &OwnedFd| {
            let is_socket = socket_type(part) == Ok(SocketType::SEQPACKET);
            is_socket == (number > 0) && Table::inode(part.as_fd()).is_ok_and(|it| it == wanted)
        };
        match stored.iter().position(is_it) {
            Some(index) => parts.push(stored.swap_remove(index)),
            None => {
                stored.extend(parts);
                return Ok(Stored::Foreign(stored));
            }
        }
    }
    let mut parts = parts.into_iter();
    let Some(buffers) = parts.next() else {
        return Ok(Stored::Foreign(stored));
    };
    table.have_buffers(options.buffers);
    mapping::grow(&buffers, table.buffers() as usize * BUFFER)?;
    let mut pairs = Vec::new();
    while let (Some(one), Some(other)) = (parts.next(), parts.next()) {
        pairs.push([one, other]);
    }
    let parts = Parts::of(table, buffers, pairs).ok_or(KeepError::Refused)?;
    Ok(Stored::Ours(Box::new(parts)))
}

/// Has systemd keep everything, and finds out whether it does.
///
/// It says nothing when it keeps no (more) descriptors, but closes those that it does not want. So one
/// end of a pipe goes after the others: if it is still open when everything was acted upon, all of them
/// are kept. (From version 254 on there is `$FDSTORE` as well, which only tells what is configured.)
pub(super) fn put(core: &Core) -> Result<(), KeepError> {
    let lots = core
        .lots
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    notify::store(NAME, &core.parts(&lots))?;
    notify::store(PROBE, &[write.as_fd()])?;
    drop(write);
    notify::barrier(PATIENCE)?;
    if has_hung_up(read.as_fd()) {
        notify::unstore(NAME)?;
        return Err(KeepError::Refused);
    }
    Ok(notify::unstore(PROBE)?)
}

/// Has systemd keep nothing any more.
pub(super) fn remove() -> Result<(), StoreError> {
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
