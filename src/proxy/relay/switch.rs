//! When to copy and when to splice: the decisions of one direction, without I/O.
//!
//! Copying through a buffer is cheapest for small messages, splicing through a pipe for bulk: it
//! needs two calls where copying needs two as well, but copies nothing, and the pipe's bookkeeping
//! costs more than copying a few kilobytes. A message says by its size what it is: one that fills
//! the whole buffer is bulk.

/// While a direction is in bulk, each time it had to wait it must have carried at least so many
/// bytes since the wait before, or it goes back to copying.
pub(super) const BULK: usize = 32 * 1024;

/// How much is spliced at once to begin with, and to a sink that is slow: it stays in the pipe, and
/// that is memory.
const REACH: usize = 256 * 1024;

/// How much is spliced at once to a sink that takes everything: the more, the fewer calls.
pub(super) const REACH_MAX: usize = 1024 * 1024;

/// What a direction attempts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Receive into the buffer, and send what was received.
    Receive,
    /// Send what is left of what was received.
    Send,
    /// Splice from the source into a pipe, which is empty.
    Fill,
    /// Splice from the pipe to the sink.
    Drain,
    /// Tell the sink that the source has said everything.
    Finish,
}

/// Where the bytes are that were taken from the source and not given to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    InMemory(usize),
    InPipe(usize),
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    held: Held,
    bulk: bool,
    /// Whether splicing is possible at all between these two.
    splices: bool,
    ended: bool,
    /// Bytes since the last wait.
    carried: usize,
    /// How much is spliced at once.
    reach: usize,
}

impl Switch {
    /// Nothing was carried yet.
    pub(super) fn new() -> Self {
        Self {
            held: Held::Nothing,
            bulk: false,
            splices: true,
            ended: false,
            carried: 0,
            reach: REACH,
        }
    }

    /// What to attempt now.
    pub(super) fn next(&self) -> Next {
        match self.held {
            Held::InMemory(_) => Next::Send,
            Held::InPipe(_) => Next::Drain,
            Held::Nothing if self.ended => Next::Finish,
            Held::Nothing if self.bulk => Next::Fill,
            Held::Nothing => Next::Receive,
        }
    }

    /// So many bytes came into the buffer, or the end; `full`: as many as it holds.
    pub(super) fn received(&mut self, bytes: usize, full: bool) {
        debug_assert_eq!(self.next(), Next::Receive);
        match bytes {
            0 => self.ended = true,
            _ => self.held = Held::InMemory(bytes),
        }
        self.carried += bytes;
        self.bulk = full && self.splices;
    }

    /// The most bytes that may come into the pipe.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// So many bytes came into the pipe, or the end.
    pub(super) fn filled(&mut self, bytes: usize) {
        debug_assert_eq!(self.next(), Next::Fill);
        if bytes >= self.reach {
            self.reach = (2 * self.reach).min(REACH_MAX);
        }
        match bytes {
            0 => self.ended = true,
            _ => self.held = Held::InPipe(bytes),
        }
        self.carried += bytes;
    }

    /// So many bytes are in a pipe already.
    pub(super) fn was_filled(&mut self, bytes: usize) {
        self.bulk = true;
        self.filled(bytes);
    }

    /// The sink took so many of the bytes that are held; how many are left.
    pub(super) fn gave(&mut self, bytes: usize) -> usize {
        let (Held::InMemory(held) | Held::InPipe(held)) = &mut self.held else {
            debug_assert_eq!(bytes, 0, "nothing is held");
            return 0;
        };
        debug_assert!(bytes <= *held);
        *held = held.saturating_sub(bytes);
        let left = *held;
        if left == 0 {
            self.held = Held::Nothing;
        }
        left
    }

    /// Bytes that are in the pipe.
    pub(super) fn in_pipe(&self) -> usize {
        match self.held {
            Held::InPipe(bytes) => bytes,
            Held::Nothing | Held::InMemory(_) => 0,
        }
    }

    /// The source has nothing now.
    pub(super) fn waits_for_source(&mut self) {
        debug_assert_eq!(self.held, Held::Nothing);
        self.bulk &= std::mem::take(&mut self.carried) >= BULK;
    }

    /// The sink takes nothing now.
    pub(super) fn waits_for_sink(&mut self) {
        debug_assert_ne!(self.held, Held::Nothing);
        self.reach = REACH;
    }

    /// No pipe can be had now: the next bytes are copied.
    pub(super) fn no_pipe(&mut self) {
        debug_assert_eq!(self.next(), Next::Fill);
        self.bulk = false;
    }

    /// These two cannot be spliced: copies from now on.
    pub(super) fn cannot_splice(&mut self) {
        self.no_pipe();
        self.splices = false;
    }
}

#[cfg(test)]
mod tests {
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
    }

    fn world() -> impl Strategy<Value = World> {
        prop_oneof![
            6 => (1usize..3 * BUFFER).prop_map(World::Moves),
            2 => (1usize..200).prop_map(World::Moves),
            3 => Just(World::Blocks),
            1 => Just(World::NoPipe),
            1 => Just(World::CannotSplice),
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
                (Next::Fill, World::NoPipe) => switch.no_pipe(),
                (Next::Fill, World::CannotSplice) => {
                    switch.cannot_splice();
                    self.splices = false;
                }
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
        ) {
            let mut path = Path { unread: length, splices: true, ..Path::default() };
            let mut switch = Switch::new();
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
        switch.no_pipe();
        assert_eq!(switch.next(), Next::Receive);
        switch.received(BUFFER, true);
        switch.gave(BUFFER);
        assert_eq!(switch.next(), Next::Fill);
        switch.cannot_splice();
        switch.received(BUFFER, true);
        switch.gave(BUFFER);
        assert_eq!(switch.next(), Next::Receive);
    }
}
