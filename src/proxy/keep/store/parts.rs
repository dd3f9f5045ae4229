//! Everything that is kept: two memory files and the sockets of the lots and of the will's queue. The table
//! has their inodes, by which they are recognised.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};

use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use crate::proxy::keep::error::KeepError;
use crate::proxy::keep::options::KeepOptions;
use crate::proxy::keep::parking::queue::{self, SocketPair};
use crate::proxy::keep::table::Table;
use crate::proxy::keep::table::layout::PAIRS;
use crate::proxy::keep::table::mapping;

/// The content of the store.
pub enum StoreContent {
    Empty,
    /// What this version does not understand.
    Foreign(Vec<OwnedFd>),
    /// The parts, and what does not belong to them.
    Own(Box<Parts>, Vec<OwnedFd>),
}

pub struct Parts {
    pub table: Table,
    pub buffers: OwnedFd,
    pub lots: [SocketPair; PAIRS],
    pub will: SocketPair,
}

impl Parts {
    pub fn new(options: &KeepOptions<'_>) -> Result<Self, KeepError> {
        let table = Table::new(options.connections, options.buffers)?;
        let buffers = mapping::memory_file("kept-bytes", table.buffer_bytes())?;
        let mut pairs = Vec::new();
        for _ in 0..=PAIRS {
            pairs.push(queue::pair().map_err(std::io::Error::from)?);
        }
        let all = std::iter::once(buffers.as_fd()).chain(pairs.iter().flatten().map(AsFd::as_fd));
        for (part, inode) in all.zip(&table.header().parts) {
            inode.store(Table::inode(part)?, Release);
        }
        Self::of(table, buffers, pairs).ok_or(KeepError::Refused)
    }

    /// The last pair is the will's.
    fn of(table: Table, buffers: OwnedFd, mut pairs: Vec<SocketPair>) -> Option<Self> {
        let will = pairs.pop()?;
        Some(Self {
            table,
            buffers,
            lots: pairs.try_into().ok()?,
            will,
        })
    }
}

/// Recognises the parts among the content of the store.
pub fn recognise(mut stored: Vec<OwnedFd>, options: &KeepOptions<'_>) -> StoreContent {
    if stored.is_empty() {
        return StoreContent::Empty;
    }
    match find(&mut stored, options) {
        Some(parts) => StoreContent::Own(Box::new(parts), stored),
        None => StoreContent::Foreign(stored),
    }
}

/// Takes a table and everything that belongs to it out of `stored`; `None`, and nothing is taken out, if
/// no table is understood or a part is missing.
fn find(stored: &mut Vec<OwnedFd>, options: &KeepOptions<'_>) -> Option<Parts> {
    let index = stored.iter().position(|file| Table::is_one(file.as_fd()))?;
    let file = stored.get(index)?.try_clone().ok()?;
    let table = Table::adopt(file, options.connections)
        .inspect_err(|error| tracing::debug!("the table cannot be used: {error}"))
        .ok()?;
    let mut numbers = vec![index];
    for (number, inode) in table.header().parts.iter().enumerate() {
        let inode = inode.load(Acquire);
        let is_it = |part: &OwnedFd| {
            let is_socket = socket_type(part) == Ok(SocketType::SEQPACKET);
            is_socket == (number > 0) && Table::inode(part.as_fd()).is_ok_and(|it| it == inode)
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
