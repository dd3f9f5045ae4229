//! Bulk does not starve connections with few bytes.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::front::{Front, Path, Wiring};
use crate::support::eventually;

/// The receive buffers. What fits into them the proxy can carry without anybody doing anything for it.
const BULK: usize = 64 << 20;

/// So much bulk is ready at the least.
const READY: usize = 16 << 20;

/// How much of it may be carried before a request that came behind it. A turn is a fraction of that.
const BEFORE: usize = 8 << 20;

#[test]
fn a_request_does_not_wait_until_bulk_that_came_before_it_is_through() {
    for path in [Path::Threads(1), Path::NoPipes] {
        let front = Front::with(path, Wiring::TcpToTcp, |unit| {
            unit.env("DISNIX_TCP_PROXY_THREADS", "1")
        });
        front.has_receive_buffers(BULK, BULK);
        let (mut client, upstream) = front.pair();
        let (bulk_client, bulk_upstream) = front.pair();
        // The kernel says when something has come, whenever the test finds the time to look.
        note_arrivals(&upstream);
        note_arrivals(&bulk_upstream);
        eventually("the kernel notes arrivals", || {
            client.write_all(b"hello\n").unwrap();
            receive(&upstream).1.is_some()
        });
        front.proxy.stop();
        let waiting = fill(&bulk_client);
        assert!(waiting >= READY, "only {waiting} bytes are ready");
        client.write_all(b"hello\n").unwrap();
        eventually("the request waits, too", || unsent(&client) == 0);
        front.proxy.signal(libc::SIGCONT);
        let (bytes, request) = receive(&upstream);
        assert_eq!(bytes, 6);
        let mut carried = 0;
        while carried < waiting {
            let (bytes, bulk) = receive(&bulk_upstream);
            if bulk > request {
                break;
            }
            carried += bytes;
        }
        assert!(
            carried < BEFORE,
            "{path:?}: of {waiting} bytes of bulk, {carried} were carried before a request"
        );
    }
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

/// From now on the kernel notes when bytes arrive.
fn note_arrivals(stream: &TcpStream) {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
    // SAFETY: it reads one int.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            length,
        )
    };
    assert_eq!(result, 0);
}

/// Receives what is there, at most a part of it. Returns the number of bytes, and when the last of them
/// arrived, if the kernel has noted that.
fn receive(stream: &TcpStream) -> (usize, Option<Duration>) {
    let mut bytes = vec![0; 64 << 10];
    let mut control = [0_u64; 16];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all of it may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the buffers have these lengths.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, 0) };
    let received = usize::try_from(received).unwrap();
    assert_ne!(received, 0, "the connection has ended");
    // SAFETY: the kernel has written the first header, if there is one.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let time = header.map(|header| {
        assert_eq!(header.cmsg_type, libc::SCM_TIMESTAMPNS);
        // SAFETY: it is followed by a time, which need not be aligned.
        unsafe {
            libc::CMSG_DATA(header)
                .cast::<libc::timespec>()
                .read_unaligned()
        }
    });
    let time = time.map(|time| Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
    (received, time)
}

fn ioctl(stream: &TcpStream, request: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD and TIOCOUTQ write one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), request, &mut bytes) };
    assert_eq!(result, 0);
    usize::try_from(bytes).unwrap()
}
