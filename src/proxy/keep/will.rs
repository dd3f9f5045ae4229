//! The last will: a child that shares our descriptors, so that our death closes none of them, and that
//! then sends those which are not parked into a queue in the store.
//!
//! It covers the moment between accepting a client and parking it, when the process itself is killed.
//! It is made by clone(2) with `CLONE_FILES` and without exec(3), which would end the sharing. All it
//! does is make system calls on memory that is there already: a child of a process with threads may not
//! allocate, lock, or panic.

mod batch;
mod process;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use super::heir::{self, Heir};
use super::layout::{LEFT, OVER, Phase, State};
use super::message::{Entry, Kind};
use super::table::{NONE, Table};
use crate::service::clock::Uptime;
use batch::Batch;
pub(super) use process::is_possible;

/// The child.
#[derive(Debug)]
pub(super) struct Will {
    child: OwnedFd,
    _parent: OwnedFd,
    has_heir: bool,
}

impl Will {
    /// Makes the child. It sends to `queue`, which has to stay open, and becomes the `heir`.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow one more process.
    pub(super) fn make(
        table: &'static Table,
        queue: BorrowedFd<'_>,
        heir: Option<&'static Heir>,
    ) -> io::Result<Self> {
        let parent = process::this()?;
        let instructions = Instructions {
            parent: parent.as_raw_fd(),
            table,
            queue: queue.as_raw_fd(),
            heir,
        };
        let child = clone_with_files(&instructions)?;
        Ok(Self {
            child,
            _parent: parent,
            has_heir: heir.is_some(),
        })
    }

    /// Whether it may become the next process.
    pub(super) fn has_heir(&self) -> bool {
        self.has_heir && !self.has_ended()
    }

    /// The child, as pidfd_open(2) would tell of it.
    pub(super) fn process(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        process::has_ended(self.child.as_fd())
    }

    /// It is not wanted any more: ends the child, and waits until it has ended.
    pub(super) fn dismiss(self) {
        let signal = rustix::process::Signal::KILL;
        let _ = rustix::process::pidfd_send_signal(&self.child, signal);
        process::wait(self.child.as_fd());
    }
}

/// What the child has to know.
struct Instructions {
    parent: RawFd,
    table: &'static Table,
    queue: RawFd,
    heir: Option<&'static Heir>,
}

/// Clones the process, descriptors shared and memory not, with all signals blocked. Returns in the
/// parent only.
fn clone_with_files(instructions: &Instructions) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_FILES | libc::CLONE_PIDFD;
    // A sibling, so that systemd has the main process for its child from the beginning.
    let flags = match instructions.heir {
        Some(_) => flags | libc::CLONE_PARENT,
        None => flags,
    };
    // SAFETY: the signal sets are ours. The child gets a copy of this stack, runs `run`, which makes
    // system calls only (see there), and ends without returning; other threads do not exist in it, and
    // nothing that they may have locked is touched. A child has no exit signal, so that nobody who waits
    // for other children sees it; a sibling has that of its parent.
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let pid = libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong,
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<libc::c_int>(),
            0 as libc::c_ulong,
        );
        if pid == 0 {
            libc::_exit(run(instructions));
        }
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        pid
    };
    debug_assert!(pid > 0);
    // SAFETY: the kernel has put a new descriptor there, which is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// What the child does: waits for the parent's death, which is the end of its last thread, then sends, and
/// executes the heir. It allocates nothing. Returns its exit status.
fn run(instructions: &Instructions) -> libc::c_int {
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
    let mut batch = Batch::new(queue);
    let most = table_size();
    clear_marks(table, most);
    for index in 0..table.top() {
        written_down(table, index, &mut batch);
    }
    batch.send();
    batch.is_written_down = false;
    others(table, most, &mut batch);
    batch.send();
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
fn written_down(table: &Table, index: u32, batch: &mut Batch) {
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
        let entry = Entry {
            kind,
            index,
            generation: state.generation,
        };
        batch.add(entry, client, upstream);
    }
}

fn mark(table: &Table, descriptor: u32) {
    if let Some(marks) = table.marks(descriptor as usize / 64) {
        marks.store(marks.load(Relaxed) | 1 << (descriptor % 64), Relaxed);
    }
}

/// Sends all connected stream sockets that are not marked and may be new clients.
fn others(table: &Table, most: RawFd, batch: &mut Batch) {
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
                batch.add(Entry::STRAY, entry.fd as u32, NONE);
            }
        }
        first += AT_ONCE as RawFd;
    }
}

/// Whether it is a connected stream socket.
pub(super) fn is_connected_stream(number: RawFd) -> bool {
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let mut address = std::mem::MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut address_length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most as much as there is room for, and nobody reads the address.
    unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &mut length,
        ) == 0
            && kind == libc::SOCK_STREAM
            && libc::getpeername(number, address.as_mut_ptr().cast(), &mut address_length) == 0
    }
}

/// Whether something was sent to its peer or received from it, so that it is no new client: there is no
/// room for all connections that are not kept. Only TCP can tell.
fn is_used(number: RawFd) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let mut readable: libc::c_int = 0;
    // SAFETY: the kernel writes at most as much as there is room for, and zeros are a valid `tcp_info`.
    let (asked, info) = unsafe {
        let asked = libc::getsockopt(
            number,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        ) == 0
            && libc::ioctl(number, libc::FIONREAD, &raw mut readable) == 0;
        (asked, info.assume_init())
    };
    // The peer's end counts as one that was received.
    let received = info.tcpi_bytes_received > readable as u64 + 1;
    asked && (received || info.tcpi_bytes_sent > 0)
}

/// One more than the greatest descriptor that there may be, from `FDSize` in /proc, or else from the
/// limit.
fn table_size() -> RawFd {
    let mut text = [0_u8; 1024];
    // SAFETY: the name is a string with its end, and the kernel writes at most as much as there is room
    // for. The last fallback is the size that every process may have.
    unsafe {
        let file = libc::open(c"/proc/self/status".as_ptr(), libc::O_RDONLY);
        let count = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        let text = text.get(..usize::try_from(count).unwrap_or(0));
        if let Some(size) = text.and_then(number_behind_fdsize) {
            return size;
        }
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        match libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) {
            0 => RawFd::try_from(limit.rlim_cur).unwrap_or(1 << 20),
            _ => 1024,
        }
    }
}

fn number_behind_fdsize(text: &[u8]) -> Option<RawFd> {
    const KEY: &[u8] = b"FDSize:";
    let start = text.windows(KEY.len()).position(|window| window == KEY)?;
    let rest = text.get(start + KEY.len()..)?;
    let mut number: RawFd = 0;
    for byte in rest.iter().skip_while(|byte| matches!(byte, b'\t' | b' ')) {
        if !byte.is_ascii_digit() {
            break;
        }
        number = number.checked_mul(10)?.checked_add((byte - b'0').into())?;
    }
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_descriptor_table_is_found() {
        let text = b"Name:\tx\nFDSize:\t65536\nGroups:\t0";
        assert_eq!(number_behind_fdsize(text), Some(65_536));
        assert_eq!(number_behind_fdsize(b"Name:\tx\n"), None);
        assert_eq!(number_behind_fdsize(b"FDSize:\tx"), None);
        assert!(table_size() >= 64);
    }

    #[test]
    fn a_slot_without_a_client_spoils_nothing() {
        let table: &'static Table = Box::leak(Box::new(Table::new(2, 1).unwrap()));
        let mut batch = Batch::new(-1);
        for client in [NONE, 7] {
            let slot = table.slot(table.claim().unwrap()).unwrap();
            slot.client.store(client, Relaxed);
            let state = State {
                phase: Phase::Handed,
                ..State::of(slot.state.load(Relaxed))
            };
            slot.state.store(state.word(), Relaxed);
        }
        (0..table.top()).for_each(|index| written_down(table, index, &mut batch));
        assert_eq!((batch.count, batch.descriptors[0]), (1, 7));
    }
}
