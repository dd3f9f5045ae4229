//! What the last will does. It allocates nothing: see [`super`].

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::descriptors::{is_connected_stream, table_size};
use super::heir::{self, Heir};
use super::parcel::Parcel;
use super::process;
use crate::proxy::keep::parking::message::{Kind, LotEntry};
use crate::proxy::keep::table::layout::{LEFT, OVER, Phase};
use crate::proxy::keep::table::{NONE, Table};
use crate::service::clock::Uptime;
use crate::service::kernel::is_untouched;

/// What the child has to know.
pub(super) struct Instructions<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) table: &'static Table,
    pub(super) queue: BorrowedFd<'a>,
    pub(super) heir: Option<&'static Heir>,
}

/// What the child does: waits for the parent's death, which is the end of its last thread, then sends, and
/// executes the heir. It allocates nothing. Returns its exit status.
pub(super) fn run(instructions: &Instructions<'_>) -> libc::c_int {
    let &Instructions {
        parent,
        table,
        queue,
        heir,
    } = instructions;
    // SAFETY: the name is a string with its end; nothing else is read.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"last-will".as_ptr()) };
    // Signals are blocked, but stopping and continuing interrupts too.
    while process::wait(parent) != Ok(1) {}
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
        send_slot(table, index, &mut parcel);
    }
    parcel.send();
    parcel.is_written_down = false;
    send_others(table, most, &mut parcel);
    parcel.send();
    match heir {
        Some(heir) if heir::has_heir(service_time(table), heir::is_to_end()) => {
            heir.claim();
            if heir::is_to_end() {
                // systemd had taken the death of the parent for the end of the service (`ExitType=main`). It
                // starts the next process if the main one, which is this by now, ends as its parent did.
                let _ = kill_process(getpid(), Signal::KILL);
            }
            heir.execute();
            1
        }
        _ => 0,
    }
}

/// For how long the parent has served.
fn service_time(table: &Table) -> Option<Duration> {
    match table.header().serves_since.load(Relaxed) {
        0 => None,
        since => Some(Uptime::now().since(Uptime::from_micros(since))),
    }
}

/// Clears the marks of an earlier will, for all descriptors below `most`.
fn clear_marks(table: &Table, most: RawFd) {
    for word in 0..=most as usize / 64 {
        if let Some(marks) = table.marks(word) {
            marks.store(0, Relaxed);
        }
    }
}

/// Marks the descriptors of a slot, and sends them unless they are parked.
fn send_slot(table: &Table, index: u32, parcel: &mut Parcel<'_>) {
    let Some(slot) = table.slot(index) else {
        return;
    };
    let state = slot.state.load();
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
fn send_others(table: &Table, most: RawFd, parcel: &mut Parcel<'_>) {
    /// Descriptors that are looked at with one call.
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
        // SAFETY: the length is that of the array.
        let count = unsafe { libc::poll(fds.as_mut_ptr(), AT_ONCE as libc::nfds_t, 0) };
        for entry in &fds {
            let is_open = count < 0 || entry.revents & libc::POLLNVAL == 0;
            if entry.fd >= 0 && is_open && may_be_new(entry.fd) {
                parcel.add(LotEntry::STRAY, entry.fd as u32, NONE);
            }
        }
        first += AT_ONCE as RawFd;
    }
}

/// Whether it is a connected stream socket, and not known to have been used: there is no room for all
/// connections that are not kept.
fn may_be_new(number: RawFd) -> bool {
    // SAFETY: it is not -1, and the kernel finds out if it is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    is_connected_stream(socket) && !matches!(is_untouched(socket), Ok(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::keep::table::layout::State;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_slot_without_a_client_spoils_nothing() {
        let table: &'static Table = Box::leak(Box::new(Table::new(2, 1).unwrap()));
        let mut parcel = Parcel::new(table.file());
        for client in [NONE, 7] {
            let slot = table.slot(table.claim().unwrap()).unwrap();
            slot.client.store(client, Relaxed);
            slot.state.store(State {
                phase: Phase::HandedOver,
                ..slot.state.load()
            });
        }
        (0..table.top()).for_each(|index| send_slot(table, index, &mut parcel));
        assert_eq!((parcel.count, parcel.descriptors[0].as_raw_fd()), (1, 7));
    }

    #[test]
    fn an_upstream_that_the_client_has_left_is_neither_sent_nor_marked() {
        let table: &'static Table = Box::leak(Box::new(Table::new(1, 1).unwrap()));
        let mut parcel = Parcel::new(table.file());
        let index = table.claim().unwrap();
        let slot = table.slot(index).unwrap();
        slot.client.store(7, Relaxed);
        // Its number is another socket's by now: a new client's, perhaps.
        slot.upstream.store(9, Relaxed);
        slot.state.store(State {
            phase: Phase::Accepted,
            ..slot.state.load()
        });
        send_slot(table, index, &mut parcel);
        assert_eq!(parcel.count, 1);
        assert_eq!(table.marks(0).unwrap().load(Relaxed), 1 << 7);
    }
}
