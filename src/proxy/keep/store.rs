//! What systemd keeps for the next process: two memory files and the sockets of the lots.
//!
//! All of them under one name and with one message, so that it has all of them or none. Their inodes
//! are in the table, which tells them apart.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use super::layout::PAIRS;
use super::lots::{self, Pair};
use super::table::Table;
use super::{Core, KeepError, Options, mapping};
use crate::service::activation::Inherited;
use crate::service::notify::{self, StoreError};

/// What they are called in `LISTEN_FDNAMES`. Every other name that begins with this one is reserved: a
/// version that uses it may have been killed before it took that out of the store again.
pub const NAME: &str = "kept-connections";

/// systemd answers at once unless it is busy with something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was in the store.
pub(super) enum Stored {
    /// Nothing.
    Nothing,
    /// Something that this version does not understand.
    Foreign(Vec<OwnedFd>),
    /// All that is needed, and what is not.
    Ours(Box<Parts>, Vec<OwnedFd>),
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

/// Separates what was kept, which [`super::start`] takes, from the sockets that systemd hands over. What
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

/// Finds out what is what.
pub(super) fn recognise(mut stored: Vec<OwnedFd>, options: &Options<'_>) -> Stored {
    if stored.is_empty() {
        return Stored::Nothing;
    }
    match find(&mut stored, options) {
        Some(parts) => Stored::Ours(Box::new(parts), stored),
        None => Stored::Foreign(stored),
    }
}

/// A table and everything that belongs to it, taken out of `stored`; `None` if there is none that is
/// understood, or if something is missing. Then nothing is taken out.
fn find(stored: &mut Vec<OwnedFd>, options: &Options<'_>) -> Option<Parts> {
    let index = stored.iter().position(|file| Table::is_one(file.as_fd()))?;
    let file = stored.get(index)?.try_clone().ok()?;
    let table = Table::adopt(file, options.connections)
        .inspect_err(|error| tracing::debug!("the table cannot be used: {error}"))
        .ok()?;
    let mut numbers = vec![index];
    for (number, inode) in table.header().parts.iter().enumerate() {
        let wanted = inode.load(Acquire);
        let is_it = |part: &OwnedFd| {
            let is_socket = socket_type(part) == Ok(SocketType::SEQPACKET);
            is_socket == (number > 0) && Table::inode(part.as_fd()).is_ok_and(|it| it == wanted)
        };
        numbers.push(stored.iter().position(is_it)?);
    }
    if numbers.iter().collect::<BTreeSet<_>>().len() < numbers.len() {
        return None;
    }
    table.have_buffers(options.buffers);
    mapping::grow(stored.get(*numbers.get(1)?)?, table.buffer_bytes()).ok()?;
    let mut all: Vec<Option<OwnedFd>> = stored.drain(..).map(Some).collect();
    let mut parts = numbers
        .iter()
        .filter_map(|number| all.get_mut(*number)?.take())
        .skip(1);
    let buffers = parts.next()?;
    let mut pairs = Vec::new();
    while let (Some(one), Some(other)) = (parts.next(), parts.next()) {
        pairs.push([one, other]);
    }
    drop(parts);
    stored.extend(all.into_iter().flatten());
    Parts::of(table, buffers, pairs)
}

/// Has systemd keep everything, and finds out whether it does.
///
/// It says nothing when it keeps no (more) descriptors, but closes those that it does not want. So one
/// end of a pipe goes behind the others, and stays there: if it is still open when the message was acted
/// upon, all of them are kept. (From version 254 on there is `$FDSTORE` as well, which only tells what is
/// configured.)
pub(super) fn put(core: &Core) -> Result<(), KeepError> {
    let lots = core
        .lots
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut parts = core.parts(&lots);
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
