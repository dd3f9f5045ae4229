//! The content of the lots: which descriptors belong to which slot or pipe.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::sockets::Sockets;
use crate::proxy::keep::parking::Parking;
use crate::proxy::keep::parking::lots::LotSide;
use crate::proxy::keep::parking::message::{Kind, LotEntry};
use crate::proxy::keep::parking::queue::LotMessage;
use crate::proxy::keep::table::Slot;
use crate::proxy::keep::table::layout::{Phase, State};
use crate::proxy::keep::will::left_open;

#[derive(Default)]
pub(super) struct Contents {
    pub(super) sockets: BTreeMap<u32, Sockets>,
    pub(super) pipes: BTreeMap<u32, [OwnedFd; 2]>,
    pub(super) strays: Vec<OwnedFd>,
}

impl Contents {
    /// Takes what belongs to a slot or a pipe. What came twice, or is of a connection that has ended, is
    /// closed.
    ///
    /// Messages have to come in the order in which they were sent: those of the older lot first, then
    /// those of the newer one, then the will's.
    pub(super) fn add(&mut self, parking: &Parking, message: LotMessage, lot: Option<LotSide>) {
        let mut descriptors = message.descriptors;
        for entry in message.entries {
            let (one, other) = match entry.descriptors() {
                1 => (descriptors.next(), None),
                _ => (descriptors.next(), descriptors.next()),
            };
            match (entry.kind, one, other) {
                (Kind::Stray, Some(socket), _) => self.strays.push(socket),
                (Kind::Pipe, Some(read), Some(write)) if has_pipe(parking, entry) => {
                    if let Some(side) = lot {
                        parking.places.put(entry, side);
                    }
                    self.pipes.insert(entry.index, [read, write]);
                }
                // The last one with an upstream is what counts. (An earlier process may have been killed
                // just before it wrote down that it had one.)
                (Kind::Client | Kind::Pair, Some(client), upstream)
                    if has_slot(parking, entry)
                        && (upstream.is_some() || !self.sockets.contains_key(&entry.index)) =>
                {
                    let sockets = Sockets {
                        client,
                        upstream,
                        lot,
                    };
                    self.sockets.insert(entry.index, sockets);
                }
                _ => {}
            }
        }
    }

    /// Takes what the will could not send, and has left open for this process.
    pub(super) fn take_left_open(&mut self, parking: &Parking) {
        for index in 0..parking.table.top() {
            let slot = parking.slot(index);
            let unparked = |slot: &Slot| slot.phase().is_live() && !slot.is_parked();
            let Some(slot) = slot.filter(unparked) else {
                continue;
            };
            let take = |number: &AtomicU32| left_open(number.load(Relaxed));
            if let Some(client) = take(&slot.raw().client) {
                let upstream = match slot.phase() {
                    Phase::Connected => take(&slot.raw().upstream),
                    _ => None,
                };
                let sockets = Sockets {
                    client,
                    upstream,
                    lot: None,
                };
                self.sockets.insert(index, sockets);
            }
        }
    }
}

fn has_slot(parking: &Parking, entry: LotEntry) -> bool {
    let slot = parking.slot(entry.index);
    slot.is_some_and(|slot| is_in_use(slot.state(), entry))
}

fn has_pipe(parking: &Parking, entry: LotEntry) -> bool {
    let pipe = parking.table.pipe(entry.index);
    pipe.is_some_and(|pipe| is_in_use(pipe.state.load(), entry))
}

/// Whether a slot or a pipe is still in the use that the entry is about.
fn is_in_use(state: State, entry: LotEntry) -> bool {
    state.generation == entry.generation && state.phase != Phase::Free
}

/// Makes the kernel extend the table of descriptors to the final size: once, not step by step.
pub(super) fn make_room(parking: &Parking) {
    let count = 2 * parking.table.top() + 64;
    let highest = i32::try_from(count).unwrap_or(i32::MAX);
    // If that is not allowed, it is found out later.
    let _ = rustix::io::fcntl_dupfd_cloexec(parking.table.file(), highest);
}
