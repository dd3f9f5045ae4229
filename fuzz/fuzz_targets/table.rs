//! What an earlier process has left: the table's head, its slots, and the messages in the lots.
#![no_main]

use std::sync::LazyLock;

use disnix_proxy_example::proxy::keep::Keep;
use libfuzzer_sys::fuzz_target;

static KEEP: LazyLock<Keep> = LazyLock::new(Keep::for_fuzzing);

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (what, count, bytes) = input;
    match what % 4 {
        0 => KEEP.recognise_bytes(bytes, usize::from(count) * 64),
        1 => KEEP.read_message(bytes, usize::from(count) % 256),
        _ => KEEP.settle_bytes(bytes),
    }
});
