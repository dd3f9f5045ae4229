//! The table: what is written down of every connection, in a memory file.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rustix::fs::fstat;

use super::free::FreeIndices;
use super::layout::{
    BUFFER, DESCRIPTORS, Header, MAGIC, MARKS_AT, PIPES, PIPES_AT, Phase, RawPipe, RawSlot,
    SLOTS_AT, State, StateWord, VERSION, table_bytes,
};
use super::mapping::{self, Mapping};

/// The most connections that another process can have left, unless this one may have more: each needs a
/// descriptor, and the units say `LimitNOFILE=131072`.
const LEFT_MAX: u32 = 1 << 17;

/// The most buffers that another process can have left: one for each direction, and one for each of its
/// threads.
const BUFFERS_LEFT_MAX: u32 = 2 * LEFT_MAX + 1024;

/// The number of no descriptor.
pub const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub struct Table {
    file: OwnedFd,
    mapping: Mapping,
    header: &'static Header,
    slots: u32,
    free_slots: FreeIndices,
    free_pipes: FreeIndices,
    /// Whether the process that has left it was killed, or has crashed.
    is_of_killed: bool,
}

impl Table {
    /// A new one, with room for `slots` connections and `buffers` buffers.
    pub fn new(slots: u32, buffers: u32) -> io::Result<Self> {
        let length = table_bytes(slots as usize);
        let file = mapping::memory_file("kept-connections", length)?;
        let mapping = Mapping::shared(file.as_fd(), length)?;
        let header: &'static Header = mapping.at(0).ok_or(io::ErrorKind::UnexpectedEof)?;
        header.version.store(VERSION, Release);
        let slot_bytes = size_of::<RawSlot>() as u32;
        header.slot_bytes.store(slot_bytes, Release);
        header.slots.store(slots, Release);
        header.buffers.store(buffers, Release);
        header.magic.store(MAGIC, Release);
        Ok(Self::of(file, mapping, header, slots))
    }

    /// One that another process has left, with room for at least `slots` connections from now on.
    ///
    /// The memory that it takes does not depend on what the table says, but on how many connections this
    /// process may have, or any process may have had: [`LEFT_MAX`].
    /// Fails with `InvalidData` if it is no table, or one of another version.
    pub fn adopt(file: OwnedFd, slots: u32) -> io::Result<Self> {
        let foreign = || {
            let why = "it is of another version of this program";
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let length = mapping::file_length(file.as_fd())?;
        if length < table_bytes(0) {
            return Err(foreign());
        }
        let mapping = Mapping::shared(file.as_fd(), table_bytes(0))?;
        let header: &'static Header = mapping.at(0).ok_or_else(foreign)?;
        let top = known_top(header, length, slots).ok_or_else(foreign)?;
        let slots = slots.max(top);
        mapping::grow(&file, table_bytes(slots as usize))?;
        let mapping = Mapping::shared(file.as_fd(), table_bytes(slots as usize))?;
        let header: &'static Header = mapping.at(0).ok_or_else(foreign)?;
        header.slots.store(slots, Release);
        let is_of_killed = header.orderly.swap(0, AcqRel) == 0;
        header.serves_since.store(0, Release);
        Ok(Self {
            is_of_killed,
            ..Self::of(file, mapping, header, slots)
        })
    }

    fn of(file: OwnedFd, mapping: Mapping, header: &'static Header, slots: u32) -> Self {
        Self {
            file,
            mapping,
            header,
            slots,
            free_slots: FreeIndices::new(slots),
            free_pipes: FreeIndices::new(PIPES as u32),
            is_of_killed: false,
        }
    }

    /// Whether the process that has left it did not end in order.
    pub fn is_of_killed(&self) -> bool {
        self.is_of_killed
    }

    /// Limits how many slots and pipes may be in use at a time; those in use stay.
    pub fn allow(&self, slots: u32, pipes: u32) {
        self.free_slots.allow(slots);
        self.free_pipes.allow(pipes);
    }

    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Whether a descriptor is a table of any version of this program.
    pub fn is_one(file: BorrowedFd<'_>) -> bool {
        let mut magic = [0; 8];
        rustix::io::pread(file, &mut magic, 0).is_ok_and(|count| count == 8)
            && u64::from_ne_bytes(magic) == MAGIC
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub fn header(&self) -> &'static Header {
        self.header
    }

    /// Buffers that there is room for.
    pub fn buffers(&self) -> u32 {
        self.header.buffers.load(Relaxed)
    }

    /// Slots from this number on were never used.
    pub fn top(&self) -> u32 {
        self.header.top.load(Acquire).min(self.slots)
    }

    /// Pipes from this number on were never used.
    pub fn pipes_top(&self) -> u32 {
        self.header.pipes_top.load(Acquire).min(PIPES as u32)
    }

    pub fn slot(&self, index: u32) -> Option<&'static RawSlot> {
        let is_one = index < self.slots;
        let offset = SLOTS_AT + index as usize * size_of::<RawSlot>();
        is_one.then(|| self.mapping.at(offset))?
    }

    pub fn pipe(&self, index: u32) -> Option<&'static RawPipe> {
        let is_one = (index as usize) < PIPES;
        let offset = PIPES_AT + index as usize * size_of::<RawPipe>();
        is_one.then(|| self.mapping.at(offset))?
    }

    /// A word of the marks for descriptors: a bit for each, 64 in a word.
    pub fn marks(&self, word: usize) -> Option<&'static AtomicU64> {
        let is_one = word < DESCRIPTORS / 64;
        is_one.then(|| self.mapping.at(MARKS_AT + word * 8))?
    }

    /// Takes a free slot. `None` if there is none.
    pub fn claim(&self) -> Option<u32> {
        let index = self.free_slots.claim(&self.header.top, self.slots)?;
        let slot = self.slot(index)?;
        slot.client.store(NONE, Release);
        slot.upstream.store(NONE, Release);
        claim(&slot.state);
        Some(index)
    }

    /// Gives a slot back. What is in the lots of it does not count any more.
    pub fn free(&self, index: u32) {
        if let Some(slot) = self.slot(index) {
            free(&slot.state);
            self.free_slots.give_back(index);
        }
    }

    /// Finds out which slots and pipes are free, after an earlier process.
    pub fn find_free(&self) {
        let is_free = |word: &StateWord| word.load().phase == Phase::Free;
        let free_slot = |index: &u32| self.slot(*index).is_some_and(|slot| is_free(&slot.state));
        let free_pipe = |index: &u32| self.pipe(*index).is_some_and(|pipe| is_free(&pipe.state));
        let slots = (0..self.top()).rev().filter(free_slot);
        let pipes = (0..self.pipes_top()).rev().filter(free_pipe);
        self.free_slots.set(slots.collect(), self.top());
        self.free_pipes.set(pipes.collect(), self.pipes_top());
    }

    /// Makes room for at least `count` buffers, and for those that another process may have had.
    pub fn have_buffers(&self, count: u32) {
        let before = self.buffers().min(BUFFERS_LEFT_MAX);
        self.header.buffers.store(before.max(count), Release);
    }

    /// Takes a free pipe. `None` if there is none.
    pub fn claim_pipe(&self) -> Option<u32> {
        let index = self
            .free_pipes
            .claim(&self.header.pipes_top, PIPES as u32)?;
        claim(&self.pipe(index)?.state);
        Some(index)
    }

    pub fn free_pipe(&self, index: u32) {
        if let Some(pipe) = self.pipe(index) {
            free(&pipe.state);
            self.free_pipes.give_back(index);
        }
    }

    /// The inode of a memory file or a socket, by which the table knows what belongs to it.
    pub fn inode(file: BorrowedFd<'_>) -> io::Result<u64> {
        Ok(fstat(file)?.st_ino)
    }

    pub fn buffer_bytes(&self) -> usize {
        self.buffers() as usize * BUFFER
    }
}

/// The number of slots that were ever used, if this is the head of a table of this version, of `length`
/// bytes, that has no more than [`LEFT_MAX`] or `slots` of them. `None` if not.
pub fn known_top(header: &Header, length: usize, slots: u32) -> Option<u32> {
    let top = header.top.load(Acquire);
    let is_known = header.magic.load(Acquire) == MAGIC
        && header.version.load(Acquire) == VERSION
        && header.slot_bytes.load(Acquire) as usize == size_of::<RawSlot>()
        && table_bytes(top as usize) <= length
        && top <= header.slots.load(Acquire)
        && top <= slots.max(LEFT_MAX)
        && header.active.load(Acquire) <= 1
        && header.pipes_top.load(Acquire) as usize <= PIPES;
    is_known.then_some(top)
}

fn claim(word: &StateWord) {
    word.store(State {
        generation: word.load().generation.wrapping_add(1),
        parked: false,
        phase: Phase::Claimed,
    });
}

fn free(word: &StateWord) {
    word.store(State {
        phase: Phase::Free,
        parked: false,
        ..word.load()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(table: &Table) -> OwnedFd {
        table.file().try_clone_to_owned().unwrap()
    }

    fn is_foreign(file: OwnedFd) -> bool {
        Table::adopt(file, 4).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
    }

    #[test]
    fn a_table_is_adopted_as_it_was_left_and_has_room_for_more() {
        let table = Table::new(4, 8).unwrap();
        assert_eq!((0..5).filter_map(|_| table.claim()).count(), 4);
        table.free(2);
        assert_eq!(table.claim(), Some(2));
        assert!(Table::is_one(table.file()));
        let next = Table::adopt(copy(&table), 100).unwrap();
        assert_eq!((next.top(), next.buffers()), (4, 8));
        let state = next.slot(2).unwrap().state.load();
        assert_eq!((state.generation, state.phase), (2, Phase::Claimed));
        assert_eq!(next.claim(), Some(4));
        assert!(next.slot(99).is_some() && next.slot(100).is_none());
        assert!(table.slot(4).is_none(), "the old one does not see it");
    }

    #[test]
    fn what_is_not_understood_is_not_adopted() {
        let not_one = mapping::memory_file("test", 10_000_000).unwrap();
        assert!(!Table::is_one(not_one.as_fd()));
        assert!(is_foreign(not_one));
        let table = Table::new(4, 8).unwrap();
        table.header().version.store(VERSION + 1, Relaxed);
        assert!(Table::is_one(table.file()));
        let short = mapping::memory_file("test", 100).unwrap();
        assert!(is_foreign(copy(&table)) && is_foreign(short));
    }

    #[test]
    fn how_much_memory_is_used_is_not_for_the_table_to_say() {
        let table = Table::new(4, 8).unwrap();
        mapping::grow(&copy(&table), table_bytes(1 << 22)).unwrap();
        let header = table.header();
        header.slots.store(u32::MAX, Relaxed);
        header.buffers.store(u32::MAX, Relaxed);
        let next = Table::adopt(copy(&table), 100).unwrap();
        next.have_buffers(16);
        assert_eq!((next.slots(), next.buffers()), (100, BUFFERS_LEFT_MAX));
        header.slots.store(u32::MAX, Relaxed);
        header.top.store(LEFT_MAX + 1, Relaxed);
        assert!(is_foreign(copy(&table)));
        assert!(Table::adopt(copy(&table), LEFT_MAX + 1).is_ok());
    }
}
