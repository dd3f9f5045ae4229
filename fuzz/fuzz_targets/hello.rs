//! The protocol of `hello-world-server`: the lines do not depend on how the stream was cut.
#![no_main]

use disnix_proxy_example::hello::protocol::{LineError, Lines, MAX_LINE, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<&[u8]>| {
    let whole = pieces.concat();
    let lines = lines_of(pieces);
    assert_eq!(lines, lines_of([whole.as_slice()]));
    for line in lines.iter().flatten() {
        assert!(line.len() <= MAX_LINE && !line.contains('\n'));
        Request::parse(line);
    }
    let errors = lines.iter().filter(|line| line.is_err()).count();
    assert!(errors <= 1 && lines.iter().rev().skip(1).all(Result::is_ok));
});

fn lines_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<String, LineError>> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.push(piece);
        found.extend(std::iter::from_fn(|| lines.next_line()));
    }
    found.extend(lines.finish());
    found
}
