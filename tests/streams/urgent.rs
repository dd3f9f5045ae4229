//! Urgent data, send(2) with `MSG_OOB`: an old thing that must not hold up a stream.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use rustix::net::{SendFlags, send};

use crate::bytes::Bytes;
use crate::front::{Front, Path, Wiring};
use crate::support::rest;

/// Takes `amount` bytes off the front of what was received, and fails if they are not the right ones.
fn expect<'a>(bytes: Bytes, offset: u64, amount: usize, received: &'a [u8]) -> &'a [u8] {
    assert!(
        received.len() >= amount,
        "{} are missing",
        amount - received.len()
    );
    let (these, rest) = received.split_at(amount);
    assert_eq!(bytes.first_error(offset, these), None);
    rest
}

fn passes(path: Path, pieces: &[usize]) {
    let front = Front::new(path, Wiring::TcpToTcp);
    let (client, upstream) = front.pair();
    let bytes = Bytes::new(11);
    let reader = std::thread::spawn(move || rest(&upstream).unwrap());
    let mut sent = 0;
    for piece in pieces {
        write(&client, bytes, sent, *piece);
        sent += *piece as u64;
        // Another byte than the one that comes next, so that it is known from that.
        let urgent = !bytes.at(sent, 1)[0];
        assert_eq!(send(&client, &[urgent], SendFlags::OOB), Ok(1));
    }
    client.shutdown(Shutdown::Write).unwrap();
    let received = reader.join().unwrap();
    // The urgent byte itself may be left out, as it is for everybody who does not ask for it.
    let (mut left, mut at) = (&received[..], 0);
    for piece in pieces {
        left = expect(bytes, at, *piece, left);
        at += *piece as u64;
        left = left.strip_prefix(&[!bytes.at(at, 1)[0]]).unwrap_or(left);
    }
    assert_eq!(left, b"", "{path:?} {pieces:?}");
}

fn write(mut stream: &TcpStream, bytes: Bytes, from: u64, amount: usize) {
    let mut written = 0;
    while written < amount {
        let slice = bytes.at(from + written as u64, amount - written);
        stream.write_all(slice).unwrap();
        written += slice.len();
    }
}

#[test]
fn it_does_not_hold_up_small_messages() {
    for path in [Path::Usual, Path::NoPipes] {
        passes(path, &[0, 1, 2, 100, 0, 5]);
    }
}

#[test]
fn it_does_not_hold_up_bulk() {
    for path in [
        Path::Usual,
        Path::Threads(1),
        Path::NoPipes,
        Path::SmallPipes,
    ] {
        passes(path, &[3_000_000, 1, 2_000_000, 300_000, 65_536]);
    }
}
