use super::*;
use proptest::prelude::*;

/// What the kernel does when the switch attempts something.
#[derive(Clone, Copy, Debug)]
enum KernelAnswer {
    /// This number of bytes is there, or fits.
    Moves(usize),
    /// Nothing is there, or fits.
    Blocks,
    /// There is no pipe now.
    NoPipe,
    /// These two sockets cannot be spliced.
    CannotSplice,
    /// There is urgent data: splicing stops before it, once.
    Urgent,
}

impl KernelAnswer {
    fn bytes(self) -> usize {
        match self {
            Self::Moves(bytes) => bytes,
            _ => 1,
        }
    }
}

fn answer() -> impl Strategy<Value = KernelAnswer> {
    prop_oneof![
        6 => (1usize..3 * BUFFER).prop_map(KernelAnswer::Moves),
        2 => (1usize..200).prop_map(KernelAnswer::Moves),
        3 => Just(KernelAnswer::Blocks),
        1 => Just(KernelAnswer::NoPipe),
        1 => Just(KernelAnswer::CannotSplice),
        1 => Just(KernelAnswer::Urgent),
    ]
}

const BUFFER: usize = 64 * 1024;

/// A source of numbered bytes, a sink that knows which came, and what is between them.
#[derive(Debug, Default)]
struct Path {
    unread: usize,
    read: usize,
    in_hand: std::ops::Range<usize>,
    is_in_pipe: bool,
    written: usize,
    finished: bool,
    splices: bool,
}

impl Path {
    /// Takes up to `most` bytes from the source, which has `available` now. Returns their number.
    fn take(&mut self, most: usize, available: usize, is_in_pipe: bool) -> usize {
        let count = most.min(available).min(self.unread);
        self.in_hand = self.read..self.read + count;
        self.is_in_pipe = is_in_pipe;
        self.read += count;
        self.unread -= count;
        count
    }

    /// Gives the sink, which has `room`, the first bytes in hand.
    fn put(&mut self, switch: &mut Switch, room: usize) {
        let (range, written) = (&mut self.in_hand, &mut self.written);
        assert_eq!(range.start, *written, "lost, doubled or out of order");
        let count = room.min(range.len());
        *written += count;
        range.start += count;
        assert_eq!(switch.gave(count), range.len());
    }

    fn step(&mut self, switch: &mut Switch, answer: KernelAnswer) {
        let nothing_between = self.in_hand.is_empty();
        match (switch.next(), answer) {
            (Next::Receive | Next::Fill, KernelAnswer::Blocks) if self.unread > 0 => {
                assert!(nothing_between, "waits for more with bytes in hand");
                switch.waits_for_source();
            }
            (Next::Receive, answer) => {
                assert!(nothing_between);
                let bytes = self.take(BUFFER, answer.bytes(), false);
                switch.received(bytes, bytes == BUFFER);
            }
            (Next::Fill, KernelAnswer::NoPipe) => switch.copies_next(),
            (Next::Fill, KernelAnswer::CannotSplice) => {
                switch.cannot_splice();
                self.splices = false;
            }
            // Urgent data and the end both come to nothing, and a peek distinguishes them.
            (Next::Fill, KernelAnswer::Urgent) if self.unread > 0 => {
                switch.copies_next();
                assert_eq!(switch.next(), Next::Receive);
            }
            (Next::Fill, _) if self.unread == 0 => switch.ended(),
            (Next::Fill, answer) => {
                assert!(nothing_between && self.splices);
                switch.filled(self.take(switch.reach(), answer.bytes(), true));
            }
            (Next::Send | Next::Drain, KernelAnswer::Blocks) => {
                switch.waits_for_sink();
                assert_eq!(switch.reach(), REACH);
            }
            (Next::Send, answer) => {
                assert!(!self.is_in_pipe);
                self.put(switch, answer.bytes());
            }
            (Next::Drain, answer) => {
                assert!(self.is_in_pipe);
                assert_eq!(switch.in_pipe(), self.in_hand.len());
                self.put(switch, answer.bytes());
            }
            (Next::Finish, _) => {
                assert!(nothing_between && self.unread == 0, "ends too soon");
                self.finished = true;
            }
        }
    }
}

proptest! {
    /// With any behaviour of the sockets, each byte comes through once, in order, before the end is passed
    /// on; and the direction does not wait while something could be done.
    #[test]
    fn every_byte_comes_through_once_and_in_order(
        length in prop_oneof![0usize..2000, 0usize..(4 << 20)],
        answers in prop::collection::vec(answer(), 1..200),
        by_pipe in any::<bool>(),
    ) {
        let mut path = Path { unread: length, splices: true, ..Path::default() };
        let mut switch = match by_pipe {
            false => Switch::new(),
            true => Switch::by_pipe(),
        };
        for answer in answers {
            if !path.finished {
                path.step(&mut switch, answer);
            }
        }
        // From here on everything moves, and so the path ends.
        for _ in 0..(length / BUFFER + 1) * 4 + 8 {
            if !path.finished {
                path.step(&mut switch, KernelAnswer::Moves(usize::MAX));
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

#[test]
fn bulk_is_bulk_whether_it_is_spliced_or_not() {
    let mut copies = Switch::new();
    copies.received(BUFFER, true);
    copies.gave(BUFFER);
    copies.cannot_splice();
    let mut by_pipe = Switch::by_pipe();
    by_pipe.filled(BUFFER);
    by_pipe.gave(BUFFER);
    for mut switch in [copies, by_pipe] {
        assert!(switch.carries_bulk());
        switch.waits_for_source();
        assert!(switch.carries_bulk());
        switch.waits_for_source();
        assert!(!switch.carries_bulk());
    }
}
