//! Bulk does not starve connections with few bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use crate::front::{Front, Path, Wiring};
use crate::support::eventually;

/// The receive buffers. What fits into them the proxy can carry without anybody doing anything for it.
const BULK: usize = 64 << 20;

/// So much bulk is ready at the least.
const READY: usize = 16 << 20;

/// So much of it may be carried before a request that came behind it. A turn is a fraction of that;
/// the rest is for the time that the test takes to look.
const BEFORE: usize = 8 << 20;

/// On a machine with other things to do the test may look late. So it looks again, up to so often, and
/// the best one counts: a relay that starves others carries everything first each time.
const TRIALS: usize = 200;

#[test]
fn a_request_does_not_wait_until_bulk_that_came_before_it_is_through() {
    for path in [Path::Threads(1), Path::NoPipes] {
        let front = Front::with(path, Wiring::TcpToTcp, |unit| {
            unit.env("DISNIX_TCP_PROXY_THREADS", "1")
        });
        front.has_receive_buffers(BULK, BULK);
        let (mut client, mut upstream) = front.pair();
        let fair = (0..TRIALS)
            .map(|_| {
                let (bulk_client, bulk_upstream) = front.pair();
                ask(&client, &mut upstream);
                front.proxy.signal(libc::SIGSTOP);
                let waiting = fill(&bulk_client);
                assert!(waiting >= READY, "only {waiting} bytes are ready");
                client.write_all(b"hello\n").unwrap();
                front.proxy.signal(libc::SIGCONT);
                upstream.read_exact(&mut [0; 6]).unwrap();
                readable(&bulk_upstream)
            })
            .find(|carried| *carried < BEFORE);
        assert!(
            fair.is_some(),
            "{path:?}: all bulk was carried before a request, {TRIALS} times"
        );
    }
}

/// Proves that the connection is there, on both sides and in between.
fn ask(mut client: &TcpStream, upstream: &mut TcpStream) {
    client.write_all(b"hello\n").unwrap();
    upstream.read_exact(&mut [0; 6]).unwrap();
}

/// Writes bulk until the other end's kernel has no room for more; how much it has.
fn fill(mut stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let bytes = vec![7; 1 << 20];
    let mut sent = 0;
    while sent < BULK {
        match stream.write(&bytes) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    eventually("all has arrived that there is room for", || {
        let before = unsent(stream);
        std::thread::yield_now();
        unsent(stream) == before
    });
    sent - unsent(stream)
}

fn unsent(stream: &TcpStream) -> usize {
    ioctl(stream, libc::TIOCOUTQ)
}

/// How much was received and is not read.
fn readable(stream: &TcpStream) -> usize {
    ioctl(stream, libc::FIONREAD)
}

fn ioctl(stream: &TcpStream, request: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD and TIOCOUTQ write one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), request, &mut bytes) };
    assert_eq!(result, 0);
    usize::try_from(bytes).unwrap()
}
