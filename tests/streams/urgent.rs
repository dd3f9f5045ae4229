//! Urgent data, send(2) with `MSG_OOB`: an old thing that must not hold up a stream.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::net::{SendFlags, send};

use crate::bytes::Bytes;
use crate::front::{Front, Path, Wiring};
use crate::support::{eventually, rest};

/// Takes `amount` bytes off the front of what was received, and fails if they are not the right ones.
fn expect(bytes: Bytes, offset: u64, amount: usize, received: &[u8]) -> &[u8] {
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
    // The urgent byte itself may be left out, as it is for every receiver that does not ask for it.
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

/// Splicing stops in front of urgent data as if there were nothing, and nothing more comes that would
/// wake anybody.
#[test]
fn what_came_behind_it_is_not_forgotten_when_nothing_more_comes() {
    for path in [Path::Usual, Path::NoPipes, Path::SmallPipes] {
        let front = Front::new(path, Wiring::TcpToTcp);
        front.has_receive_buffers(1 << 20, 1 << 20);
        let (client, mut upstream) = front.pair();
        let bytes = Bytes::new(12);
        write(&client, bytes, 0, 1);
        upstream.read_exact(&mut [0]).unwrap();
        front.proxy.stop();
        write(&client, bytes, 1, 300_000);
        assert_eq!(send(&client, b"!", SendFlags::OOB), Ok(1));
        write(&client, bytes, 300_001, 100);
        front.proxy.signal(libc::SIGCONT);
        let mut received = vec![0; 300_100];
        upstream.read_exact(&mut received).expect("it is stuck");
        expect(bytes, 1, 300_000, &received);
    }
}

/// An end behind it is not taken for one in front of it, whichever side sends it and however late it is read.
#[test]
fn nothing_is_cut_short_when_the_end_is_there_already() {
    const LENGTH: usize = 2_000_000;
    for path in [Path::Usual, Path::Threads(1), Path::NoPipes] {
        for (before, is_slow, down) in [1_000_000, 1_990_000, LENGTH - 1, LENGTH]
            .into_iter()
            .flat_map(|before| [(before, false), (before, true)])
            .flat_map(|(before, is_slow)| [(before, is_slow, false), (before, is_slow, true)])
        {
            let front = Front::new(path, Wiring::TcpToTcp);
            front.has_receive_buffers(1 << 20, 1 << 16);
            let (client, upstream) = front.pair();
            let (source, sink) = match down {
                false => (client, upstream),
                true => (upstream, client),
            };
            let bytes = Bytes::new(13);
            let writer = std::thread::spawn(move || {
                write(&source, bytes, 0, before);
                let urgent = !bytes.at(before as u64, 1)[0];
                assert_eq!(send(&source, &[urgent], SendFlags::OOB), Ok(1));
                write(&source, bytes, before as u64, LENGTH - before);
                source.shutdown(Shutdown::Write).unwrap();
                (source, urgent)
            });
            if is_slow {
                // The proxy is full, and what is left waits in front of it, the end perhaps as well.
                eventually("it is full", || unread(&sink) > 0);
            }
            let received = rest(&sink).unwrap();
            let (_source, urgent) = writer.join().unwrap();
            let left = expect(bytes, 0, before, &received);
            let left = left.strip_prefix(&[urgent]).unwrap_or(left);
            let left = expect(bytes, before as u64, LENGTH - before, left);
            assert_eq!(
                left, b"",
                "{path:?}, behind {before}, slow: {is_slow}, down: {down}"
            );
        }
    }
}

fn unread(stream: &TcpStream) -> u64 {
    rustix::io::ioctl_fionread(stream).unwrap()
}
