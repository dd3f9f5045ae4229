//! Beginning to keep connections, and continuing those that were kept.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use super::error::KeepError;
use super::keeper::{Core, Keep};
use super::options::KeepOptions;
use super::parking::Parking;
use super::restoring::{LostConnection, Restoration, RestoredConnection, discard, reset_all};
use super::store::{self, Parts, StoreContent};
use super::table::Buffers;
use super::will;
use crate::service::activation::Inherited;
use crate::service::exhausted::is_of_descriptors;

/// What [`start`] has made or found.
#[derive(Debug)]
pub struct Started {
    /// What connections are kept with.
    pub keep: Keep,
    /// Connections that continue.
    pub connections: Vec<RestoredConnection>,
    /// Connections that could not continue.
    pub lost: Vec<LostConnection>,
    /// Sockets of another version, which were reset.
    pub foreign: usize,
    /// Whether the process before was killed, or has crashed.
    pub is_after_kill: bool,
    /// Why the last will cannot start the next process, if it should.
    pub no_heir: Option<io::Error>,
    /// Why there is no last will: [`Keep::make_will`] tries it again.
    pub no_will: Option<io::Error>,
}

/// Takes what an earlier process has left, or makes everything and has systemd keep it. `stored` is
/// what systemd has passed under [`super::NAME`]. If the last will is to start the next process when this
/// one is killed, `respawn` are the sockets that systemd has passed to this one.
///
/// To be called once, before a client is accepted; best before there are other threads, when the process
/// has little memory, for the last will holds on to what is there. It may be killed at any moment and done
/// again.
///
/// # Errors
///
/// When connections cannot be kept. Those that were kept before have been reset then and the store is
/// empty, except after [`KeepError::Descriptors`]: then another process can try.
pub fn start(
    stored: Vec<OwnedFd>,
    options: &KeepOptions<'_>,
    respawn: Option<Vec<Inherited>>,
) -> Result<Started, KeepError> {
    // After any failure they do not stay without an owner.
    let copies: Result<Vec<OwnedFd>, io::Error> = stored.iter().map(OwnedFd::try_clone).collect();
    let copies = copies.map_err(|_| KeepError::Descriptors)?;
    let result = match restore_or_create(stored, options, respawn) {
        Err(error) if !copies.is_empty() && is_of_descriptors(&error) => {
            Err(KeepError::Descriptors)
        }
        result => result,
    };
    if !matches!(result, Ok(_) | Err(KeepError::Descriptors)) {
        discard(copies, options.is_heir);
    }
    result
}

fn restore_or_create(
    stored: Vec<OwnedFd>,
    options: &KeepOptions<'_>,
    respawn: Option<Vec<Inherited>>,
) -> Result<Started, KeepError> {
    will::is_possible()?;
    let (keep, foreign, restoration) = match store::recognise(stored, options) {
        StoreContent::Empty => (create(options)?, 0, Restoration::default()),
        StoreContent::Foreign(descriptors) => {
            let count = discard(descriptors, options.is_heir);
            (create(options)?, count, Restoration::default())
        }
        StoreContent::Own(parts, others) => {
            let count = reset_all(&others);
            let keep = adopt(*parts, options)?.leak();
            (keep, count, restore(keep, options)?)
        }
    };
    let no_heir = respawn.and_then(|sockets| keep.provide_heir(sockets).err());
    Ok(Started {
        is_after_kill: keep.table.is_of_killed(),
        keep,
        connections: restoration.connections,
        lost: restoration.lost,
        foreign,
        no_heir,
        no_will: keep.make_will().err(),
    })
}

/// Finds everything again.
pub(super) fn restore(keep: Keep, options: &KeepOptions<'_>) -> Result<Restoration, KeepError> {
    let core = keep.core;
    let queue = core.will_queue[1].as_fd();
    Restoration::of(&core.parking, &core.buffers, queue, options)
}

fn create(options: &KeepOptions<'_>) -> Result<Keep, KeepError> {
    let core = adopt(Parts::new(options)?, options)?;
    store::put(core.parts(&core.parking.lots()))?;
    Ok(core.leak())
}

pub(super) fn adopt(parts: Parts, options: &KeepOptions<'_>) -> Result<Core, KeepError> {
    let Parts {
        table,
        buffers,
        lots,
        will,
    } = parts;
    Ok(Core {
        buffers: Buffers::shared(buffers.as_fd(), table.buffers())?,
        buffer_file: buffers,
        parking: Parking::new(table, lots, options.connections),
        will_queue: will,
        testament: Mutex::default(),
    })
}
