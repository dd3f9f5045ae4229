//! What the last will does. It allocates nothing: see [`super`].

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use super::descriptors::table_size;
use super::heir::{self, Heir};
use super::parcel::Parcel;
use super::sockets::{is_connected_stream, is_used};
use crate::proxy::keep::parking::message::{Kind, LotEntry};
use crate::proxy::keep::table::layout::{LEFT, OVER, Phase, State};
use crate::proxy::keep::table::{NONE, Table};
use crate::service::clock::Uptime;

/// What the child has to know.
pub(super) struct Instructions {
    pub(super) parent: RawFd,
    pub(super) table: &'static Table,
    pub(super) queue: RawFd,
    pub(super) heir: Option<&'static Heir>,
}

/// What the child does: waits for the parent's death, which is the end of its last thread, then sends, and
/// executes the heir. It allocates nothing. Returns its exit status.
pub(super) fn run(instructions: &Instructions) -> libc::c_int {
    let &Instructions {
        parent,
        table,
        queue,
        heir,
    } = instructions;
    // SAFETY: the name is a string with its end; nothing else is read.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"last-will".as_ptr()) };
    let mut fds = libc::pollfd {
        fd: parent,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one `pollfd` is there. Signals are blocked, but stopping and going on interrupts too.
    while unsafe { libc::poll(&mut fds, 1, -1) } != 1 {}
    match table.header().orderly.load(Acquire) {
        OVER => return 0,
        // Everything is parked but what only an heir could have.
        LEFT if heir::is_to_end() => return 0,
        _ => {}
    }
    let mut parcel = Parcel::new(queue);
    let most = table_size();
    clear_marks(table, most);
    for index in 0..table.top() {
        written_down(table, index, &mut parcel);
    }
    parcel.send();
    parcel.is_written_down = false;
    others(table, most, &mut parcel);
    parcel.send();
    match heir {
        Some(heir) if heir::has_heir(served(table), heir::is_to_end()) => {
            heir.claim();
            if heir::is_to_end() {
                // systemd had taken the death of the parent for the end of the service (`ExitType=main`). It
                // starts the next process if the main one, which is this by now, ends as its parent did.
                // SAFETY: nothing is pointed to.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            heir.execute();
            1
        }
        _ => 0,
    }
}

/// For how long the parent has served.
fn served(table: &Table) -> Option<Duration> {
    match table.header().serves_since.load(Relaxed) {
        0 => None,
        since => Some(Uptime::now().since(Uptime::from_micros(since))),
    }
}

/// No descriptor below `most` is marked: what an earlier will has left is forgotten.
fn clear_marks(table: &Table, most: RawFd) {
    for word in 0..=most as usize / 64 {
        if let Some(marks) = table.marks(word) {
            marks.store(0, Relaxed);
        }
    }
}

/// Marks the descriptors of a slot, and sends them unless they are parked.
fn written_down(table: &Table, index: u32, parcel: &mut Parcel) {
    let Some(slot) = table.slot(index) else {
        return;
    };
    let state = State::of(slot.state.load(Relaxed));
    let (client, upstream) = (slot.client.load(Relaxed), slot.upstream.load(Relaxed));
    if !state.phase.is_live() || client == NONE {
        return;
    }
    mark(table, client);
    let kind = match (state.phase, upstream) {
        (Phase::Connected, upstream) if upstream != NONE => {
            mark(table, upstream);
            Kind::Pair
        }
        _ => Kind::Client,
    };
    if !state.parked {
        let entry = LotEntry {
            kind,
            index,
            generation: state.generation,
        };
        parcel.add(entry, client, upstream);
    }
}

fn mark(table: &Table, descriptor: u32) {
    if let Some(marks) = table.marks(descriptor as usize / 64) {
        marks.store(marks.load(Relaxed) | 1 << (descriptor % 64), Relaxed);
    }
}

/// Sends all connected stream sockets that are not marked and may be new clients.
fn others(table: &Table, most: RawFd, parcel: &mut Parcel) {
    /// So many are looked at with one call.
    const AT_ONCE: usize = 256;
    let mut fds = [libc::pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    }; AT_ONCE];
    let mut first = 0;
    while first < most {
        for (number, entry) in (first..).zip(&mut fds) {
            let marks = table.marks(number as usize / 64);
            let is_marked =
                marks.is_some_and(|marks| marks.load(Relaxed) >> (number % 64) & 1 != 0);
            // What is negative is not looked at, poll(2).
            entry.fd = if is_marked { -1 } else { number };
        }
        // SAFETY: there are as many as it is told.
        let polled = unsafe { libc::poll(fds.as_mut_ptr(), AT_ONCE as libc::nfds_t, 0) };
        for entry in &fds {
            let is_open = polled < 0 || entry.revents & libc::POLLNVAL == 0;
            if entry.fd >= 0 && is_open && is_connected_stream(entry.fd) && !is_used(entry.fd) {
                parcel.add(LotEntry::STRAY, entry.fd as u32, NONE);
            }
        }
        first += AT_ONCE as RawFd;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_without_a_client_spoils_nothing() {
        let table: &'static Table = Box::leak(Box::new(Table::new(2, 1).unwrap()));
        let mut parcel = Parcel::new(-1);
        for client in [NONE, 7] {
            let slot = table.slot(table.claim().unwrap()).unwrap();
            slot.client.store(client, Relaxed);
            let state = State {
                phase: Phase::Handed,
                ..State::of(slot.state.load(Relaxed))
            };
            slot.state.store(state.word(), Relaxed);
        }
        (0..table.top()).for_each(|index| written_down(table, index, &mut parcel));
        assert_eq!((parcel.count, parcel.descriptors[0]), (1, 7));
    }
}
