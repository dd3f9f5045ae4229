//! The account of kept bytes: whatever is written down and whatever the kernel says, a position is found
//! that contradicts neither, or none.
#![no_main]

use arbitrary::Arbitrary;
use disnix_proxy_example::proxy::keep::BUFFER;
use disnix_proxy_example::proxy::keep::account::{
    Act, HeldBytes, Kernel, Place, Record, Total, settle,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    place: Option<(bool, u32)>,
    base: u64,
    taken: u64,
    given: u64,
    prefix: u32,
    act: u8,
    received: Option<u64>,
    sent: Option<u64>,
    sink_is_over: bool,
    piped: Option<u64>,
}

fuzz_target!(|input: Input| {
    let record = Record {
        place: match input.place {
            None => Place::Nowhere,
            Some((false, number)) => Place::Buffer(number),
            Some((true, number)) => Place::Pipe(number),
        },
        base: input.base,
        taken: input.taken,
        given: input.given,
        prefix: input.prefix,
        act: match input.act % 3 {
            0 => Act::Nothing,
            1 => Act::Receiving,
            _ => Act::Sending,
        },
    };
    let kernel = Kernel {
        received: total(input.received),
        sent: total(input.sent),
        sink_is_over: input.sink_is_over,
        piped: input.piped,
    };
    let Ok(settled) = settle(&record, &kernel) else {
        return;
    };
    assert!(settled.taken >= record.taken && settled.given <= settled.taken);
    let in_hand = settled.taken - settled.given;
    match settled.held {
        None => assert_eq!(in_hand, 0),
        Some(HeldBytes::Buffer {
            number,
            from,
            length,
        }) => {
            assert_eq!(record.place, Place::Buffer(number));
            assert!(from + length <= BUFFER && length as u64 == in_hand);
        }
        Some(HeldBytes::Pipe { number, length }) => {
            assert_eq!(record.place, Place::Pipe(number));
            assert!(kernel.piped == Some(length as u64) && length as u64 == in_hand);
        }
    }
});

fn total(count: Option<u64>) -> Total {
    count.map_or(Total::Unknown, Total::Exactly)
}
