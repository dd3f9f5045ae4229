use super::*;
use proptest::prelude::*;

/// What the world does when the switch attempts something.
#[derive(Clone, Copy, Debug)]
enum World {
    /// So many bytes are there, or fit.
    Moves(usize),
    /// Nothing is there, or fits.
    Blocks,
    /// No pipe can be had now.
    NoPipe,
    /// These two cannot be spliced.
    CannotSplice,
    /// There is urgent data: splicing stops in front of it, once.
    Urgent,
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![
        6 => (1usize..3 * BUFFER).prop_map(World::Moves),
        2 => (1usize..200).prop_map(World::Moves),
        3 => Just(World::Blocks),
        1 => Just(World::NoPipe),
        1 => Just(World::CannotSplice),
        1 => Just(World::Urgent),
    ]
}

const BUFFER: usize = 64 * 1024;

/// A source of numbered bytes, a sink that writes down which came, and what is between them.
#[derive(Debug, Default)]
struct Path {
    unread: usize,
    read: usize,
    in_memory: std::ops::Range<usize>,
    in_pipe: std::ops::Range<usize>,
    written: usize,
    finished: bool,
    splices: bool,
    waits: usize,
}

impl Path {
    /// Takes up to `most` bytes from the source, which has `available` now.
    fn take(&mut self, most: usize, available: usize) -> std::ops::Range<usize> {
        let count = most.min(available).min(self.unread);
        let range = self.read..self.read + count;
        self.read += count;
        self.unread -= count;
        range
    }

    fn put(
        &mut self,
        range: std::ops::Range<usize>,
        room: usize,
    ) -> (usize, std::ops::Range<usize>) {
        assert_eq!(range.start, self.written, "lost, doubled or out of order");
        let count = room.min(range.len());
        self.written += count;
        (count, range.start + count..range.end)
    }

    fn step(&mut self, switch: &mut Switch, world: World) {
        let nothing_between = self.in_memory.is_empty() && self.in_pipe.is_empty();
        match (switch.next(), world) {
            (Next::Receive | Next::Fill, World::Blocks) if self.unread > 0 => {
                assert!(nothing_between, "waits for more with bytes in hand");
                switch.waits_for_source();
                self.waits += 1;
            }
            (Next::Receive, world) => {
                assert!(nothing_between);
                let available = if let World::Moves(bytes) = world {
                    bytes
                } else {
                    1
                };
                self.in_memory = self.take(BUFFER, available);
                let bytes = self.in_memory.len();
                switch.received(bytes, bytes == BUFFER);
            }
            (Next::Fill, World::NoPipe) => switch.copies_next(),
            (Next::Fill, World::CannotSplice) => {
                switch.cannot_splice();
                self.splices = false;
            }
            // Both come to nothing, and whoever looks behind it sees which it is.
            (Next::Fill, World::Urgent) if self.unread > 0 => {
                switch.copies_next();
                assert_eq!(switch.next(), Next::Receive);
            }
            (Next::Fill, _) if self.unread == 0 => switch.ended(),
            (Next::Fill, world) => {
                assert!(nothing_between && self.splices);
                let available = if let World::Moves(bytes) = world {
                    bytes
                } else {
                    1
                };
                self.in_pipe = self.take(switch.reach(), available);
                switch.filled(self.in_pipe.len());
            }
            (Next::Send | Next::Drain, World::Blocks) => {
                switch.waits_for_sink();
                assert_eq!(switch.reach(), REACH);
            }
            (Next::Send, world) => {
                let room = if let World::Moves(bytes) = world {
                    bytes
                } else {
                    1
                };
                let (count, rest) = self.put(self.in_memory.clone(), room);
                self.in_memory = rest;
                assert_eq!(switch.gave(count), self.in_memory.len());
            }
            (Next::Drain, world) => {
                assert_eq!(switch.in_pipe(), self.in_pipe.len());
                let room = if let World::Moves(bytes) = world {
                    bytes
                } else {
                    1
                };
                let (count, rest) = self.put(self.in_pipe.clone(), room);
                self.in_pipe = rest;
                assert_eq!(switch.gave(count), self.in_pipe.len());
            }
            (Next::Finish, _) => {
                assert!(nothing_between && self.unread == 0, "ends too soon");
                self.finished = true;
            }
        }
    }
}

proptest! {
    /// Whatever the sockets do, each byte comes through once, in order, before the end is passed
    /// on; and nothing is waited for while something could be done.
    #[test]
    fn every_byte_comes_through_once_and_in_order(
        length in prop_oneof![0usize..2000, 0usize..(4 << 20)],
        worlds in prop::collection::vec(world(), 1..200),
        by_pipe in any::<bool>(),
    ) {
        let mut path = Path { unread: length, splices: true, ..Path::default() };
        let mut switch = match by_pipe {
            false => Switch::new(),
            true => Switch::by_pipe(),
        };
        for world in worlds {
            if !path.finished {
                path.step(&mut switch, world);
            }
        }
        // From here on the world is kind, and so it ends.
        for _ in 0..(length / BUFFER + 1) * 4 + 8 {
            if !path.finished {
                path.step(&mut switch, World::Moves(usize::MAX));
            }
        }
        prop_assert!(path.finished);
        prop_assert_eq!(path.written, length);
    }

    /// Messages that do not fill the buffer never take a pipe.
    #[test]
    fn small_messages_are_copied(sizes in prop::collection::vec(1usize..BUFFER, 1..50)) {
        let mut switch = Switch::new();
        for size in sizes {
            prop_assert_eq!(switch.next(), Next::Receive);
            switch.received(size, false);
            prop_assert_eq!(switch.gave(size), 0);
            switch.waits_for_source();
        }
    }
}

#[test]
fn bulk_is_spliced_until_little_comes_between_two_waits() {
    let mut switch = Switch::new();
    switch.received(BUFFER, true);
    assert_eq!(switch.next(), Next::Send);
    assert_eq!(switch.gave(BUFFER), 0);
    for _ in 0..3 {
        switch.waits_for_source();
        assert_eq!(switch.next(), Next::Fill);
        switch.filled(BULK);
        assert_eq!((switch.next(), switch.in_pipe()), (Next::Drain, BULK));
        assert_eq!(switch.gave(BULK), 0);
    }
    switch.waits_for_source();
    switch.filled(BULK - 1);
    switch.gave(BULK - 1);
    switch.waits_for_source();
    assert_eq!(switch.next(), Next::Receive);
}

#[test]
fn a_sink_that_takes_everything_gets_more_at_once_until_it_is_slow() {
    let mut switch = Switch::new();
    switch.received(BUFFER, true);
    switch.gave(BUFFER);
    for reach in [REACH, 2 * REACH, REACH_MAX, REACH_MAX] {
        assert_eq!(switch.reach(), reach);
        switch.filled(reach);
        switch.gave(reach);
    }
    switch.filled(REACH_MAX);
    switch.gave(REACH);
    switch.waits_for_sink();
    assert_eq!(switch.reach(), REACH);
}

#[test]
fn without_a_pipe_one_more_buffer_is_copied_before_it_is_asked_for_again() {
    let mut switch = Switch::new();
    switch.received(BUFFER, true);
    switch.gave(BUFFER);
    switch.copies_next();
    assert_eq!(switch.next(), Next::Receive);
    switch.received(BUFFER, true);
    switch.gave(BUFFER);
    assert_eq!(switch.next(), Next::Fill);
    switch.cannot_splice();
    switch.received(BUFFER, true);
    switch.gave(BUFFER);
    assert_eq!(switch.next(), Next::Receive);
}

#[test]
fn what_only_a_pipe_counts_is_copied_only_where_it_must() {
    let mut switch = Switch::by_pipe();
    for _ in 0..3 {
        switch.filled(1);
        assert_eq!(switch.gave(1), 0);
        switch.waits_for_source();
        assert_eq!(switch.next(), Next::Fill);
    }
    for bytes in [0, 1, BUFFER] {
        switch.copies_next();
        assert_eq!(switch.next(), Next::Receive);
        match bytes {
            0 => switch.waits_for_source(),
            _ => {
                switch.received(bytes, bytes == BUFFER);
                switch.gave(bytes);
            }
        }
        assert_eq!(switch.next(), Next::Fill);
    }
    switch.cannot_splice();
    switch.waits_for_source();
    assert_eq!(switch.next(), Next::Receive);
}
