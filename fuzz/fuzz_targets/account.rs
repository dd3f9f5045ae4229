//! The account of kept bytes: whatever is written down and whatever the kernel says, a position is found
//! that contradicts neither, or none.
#![no_main]

use arbitrary::Arbitrary;
use disnix_proxy_example::proxy::keep::BUFFER;
use disnix_proxy_example::proxy::keep::account::{
    Act, HeldBytes, Kernel, Place, Record, settle,
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
            None => Place::None,
            Some((false, number)) => Place::Buffer(number),
            Some((true, number)) => Place::Pipe(number),
        },
        base: input.base,
        taken: input.taken,
        given: input.given,
        prefix: input.prefix,
        act: match input.act % 3 {
            0 => Act::Idle,
            1 => Act::Receiving,
            _ => Act::Sending,
        },
    };
    let kernel = Kernel {
        received: input.received,
        sent: input.sent,
        sink_is_over: input.sink_is_over,
        piped: input.piped,
    };
    let Ok(settled) = settle(&record, &kernel) else {
        return;
    };
    assert!(settled.taken >= record.taken && settled.given <= settled.taken);
    let in_hand = settled.taken - settled.given;
    match settled.in_hand {
        None => assert_eq!(in_hand, 0),
        Some(HeldBytes {
            place,
            from,
            length,
        }) => {
            assert_eq!((place, length as u64), (record.place, in_hand));
            match place {
                Place::Buffer(_) => assert!(from + length <= BUFFER),
                Place::Pipe(_) => assert_eq!(kernel.piped, Some(in_hand)),
                Place::None => panic!("bytes in hand are nowhere"),
            }
        }
    }
});
