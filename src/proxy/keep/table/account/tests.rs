//! A model of one direction: a source, a place, a sink, and a process that may die between any two steps.
//! Each of them is tried.

use proptest::prelude::*;

use super::*;

/// What is really the case.
#[derive(Clone, Debug, Default)]
struct Model {
    record: Record,
    /// Bytes that were received from the source, and that the sink has.
    received: u64,
    sent: u64,
    piped: u64,
    /// Whether the kernel counts the bytes.
    counted: bool,
}

/// What a process does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Prefix(u32),
    Receive { pipe: bool, bytes: u64 },
    Send { bytes: u64 },
}

impl Model {
    fn new(counted: bool) -> Self {
        Self {
            counted,
            ..Self::default()
        }
    }

    fn in_hand(&self) -> u64 {
        u64::from(self.record.prefix) + self.received - self.sent
    }

    /// Does a step, and calls `each` after every single store and call.
    fn step(&mut self, step: Move, mut each: impl FnMut(&Self)) {
        match step {
            Move::Prefix(length) if self.record.taken == 0 => {
                self.record.place = Place::Buffer(5);
                each(self);
                self.record.prefix = length;
                // Until `taken` is stored the prefix is not read (`Flow::prefix_length`).
                self.record.taken = length.into();
                each(self);
            }
            Move::Receive { pipe, bytes } if self.in_hand() == 0 => {
                self.record.place = match pipe {
                    true => Place::Pipe(3),
                    false => Place::Buffer(5),
                };
                each(self);
                self.record.base = self.record.taken;
                each(self);
                self.record.act = Act::Receiving;
                each(self);
                self.received += bytes;
                self.piped = if pipe { bytes } else { 0 };
                each(self);
                self.record.taken += bytes;
                each(self);
                self.record.act = Act::Idle;
                each(self);
            }
            Move::Send { bytes } => {
                let bytes = bytes.min(self.in_hand());
                self.record.act = Act::Sending;
                each(self);
                self.sent += bytes;
                self.piped = self.piped.saturating_sub(bytes);
                each(self);
                self.record.given += bytes;
                each(self);
                self.record.act = Act::Idle;
                each(self);
            }
            Move::Prefix(_) | Move::Receive { .. } => {}
        }
    }

    fn kernel(&self) -> Kernel {
        Kernel {
            received: self.counted.then_some(self.received),
            sent: self.counted.then_some(self.sent),
            sink_is_over: false,
            piped: matches!(self.record.place, Place::Pipe(_)).then_some(self.piped),
        }
    }

    /// What is found out is true, or nothing is found out.
    fn check(&self) {
        let uncounted = !self.counted
            && self.record.act != Act::Idle
            && matches!(self.record.place, Place::Buffer(_) | Place::None);
        let balance = match settle(&self.record, &self.kernel()) {
            Ok(balance) => balance,
            Err(why) => {
                assert!(uncounted, "{why}: {self:?}");
                return;
            }
        };
        assert!(!uncounted, "{self:?}");
        assert_eq!(balance.taken, u64::from(self.record.prefix) + self.received);
        assert_eq!(balance.given, self.sent, "{self:?}");
        let length = self.in_hand() as usize;
        let place = self.record.place;
        let in_hand = (length > 0).then(|| HeldBytes {
            place,
            from: match place {
                Place::Pipe(_) => 0,
                Place::Buffer(_) => (self.sent - self.record.base) as usize,
                Place::None => unreachable!(),
            },
            length,
        });
        assert_eq!(balance.in_hand, in_hand, "{self:?}");
        // What was found out is written down, piece by piece; it is found out again in between.
        let mut again = self.clone();
        let pieces: [fn(&mut Record, Balance); 3] = [
            |record, balance| record.taken = balance.taken,
            |record, balance| record.given = balance.given,
            |record, _| record.act = Act::Idle,
        ];
        for write_down in pieces {
            write_down(&mut again.record, balance);
            assert_eq!(settle(&again.record, &again.kernel()), Ok(balance));
        }
    }
}

/// Every sequence of up to five steps with few bytes, killed after every store and every call.
#[test]
fn whenever_the_process_dies_what_was_done_is_known() {
    let mut steps = vec![Move::Prefix(2)];
    for bytes in 0..3 {
        steps.push(Move::Send { bytes });
        for pipe in [false, true] {
            steps.push(Move::Receive { pipe, bytes });
        }
    }
    fn all(model: &Model, steps: &[Move], depth: usize, count: &mut usize) {
        for step in steps {
            let mut next = model.clone();
            next.step(*step, |model| {
                *count += 1;
                model.check();
            });
            if depth > 1 {
                all(&next, steps, depth - 1, count);
            }
        }
    }
    let mut count = 0;
    for counted in [false, true] {
        all(&Model::new(counted), &steps, 5, &mut count);
    }
    assert!(count > 100_000);
}

fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        (1u32..200).prop_map(Move::Prefix),
        (any::<bool>(), 0..=BUFFER as u64).prop_map(|(pipe, bytes)| Move::Receive { pipe, bytes }),
        (0..=BUFFER as u64).prop_map(|bytes| Move::Send { bytes }),
    ]
}

/// A count as it may be, or any other.
fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..100_000,
        any::<u32>().prop_map(u64::from),
        any::<u64>()
    ]
}

proptest! {
    #[test]
    fn long_stories_end_the_same_way(
        steps in prop::collection::vec(step(), 1..60),
        counted in any::<bool>(),
    ) {
        let mut model = Model::new(counted);
        for step in steps {
            model.step(step, Model::check);
        }
    }

    /// With any table and any answers of the kernel, the bytes in hand lie in the buffer or are all that the
    /// pipe has, and nothing panics.
    #[test]
    fn nonsense_is_never_believed(
        place in 0u64..(3 << 32),
        counters in prop::array::uniform3(any_count()),
        prefix in 0u32..300,
        act in 0u32..3,
        kernel in prop::array::uniform3(any_count()),
        over in any::<bool>(),
    ) {
        let [base, taken, given] = counters;
        let record = Record {
            place: Place::of(place).unwrap_or(Place::None),
            base,
            taken,
            given,
            prefix,
            act: Act::of(act).unwrap(),
        };
        let kernel = Kernel {
            received: Some(kernel[0]),
            sent: Some(kernel[1]),
            sink_is_over: over,
            piped: Some(kernel[2]),
        };
        if let Ok(balance) = settle(&record, &kernel) {
            prop_assert!(balance.given <= balance.taken);
            let in_hand = balance.taken - balance.given;
            prop_assert_eq!(in_hand, balance.in_hand.map_or(0, |bytes| bytes.length as u64));
            if let Some(HeldBytes { place, from, length }) = balance.in_hand {
                match place {
                    Place::Buffer(_) => prop_assert!(length > 0 && from + length <= BUFFER),
                    Place::Pipe(_) => prop_assert_eq!(kernel.piped, Some(length as u64)),
                    Place::None => prop_assert!(false),
                }
            }
        }
    }
}

#[test]
fn a_place_is_read_as_it_was_written() {
    for place in [
        Place::None,
        Place::Buffer(0),
        Place::Buffer(u32::MAX),
        Place::Pipe(9),
    ] {
        assert_eq!(Place::of(place.word()), Some(place));
    }
    assert_eq!(Place::of(7), None);
    assert_eq!(Place::of(3 << 32), None);
}

#[test]
fn a_sink_that_is_over_gets_nothing_more() {
    let record = Record {
        place: Place::Buffer(1),
        taken: 10,
        given: 4,
        act: Act::Sending,
        ..Record::default()
    };
    let kernel = Kernel {
        received: Some(10),
        sent: None,
        sink_is_over: true,
        piped: None,
    };
    let balance = settle(&record, &kernel).unwrap();
    assert_eq!((balance.given, balance.in_hand), (10, None));
}
