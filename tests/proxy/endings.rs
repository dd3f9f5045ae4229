//! How connections end: by a reset, by the idle timeout, by the end of the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::setup::*;
use crate::support::*;

#[test]
fn a_reset_by_the_upstream_reaches_the_client_after_what_was_sent_before() {
    let setup = proxy_with(&[]);
    let (client, mut upstream) = setup.pair();
    let bytes = pattern(3_000_000);
    let sender = {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            upstream.write_all(&bytes).unwrap();
            // A reset discards what the proxy has not received yet.
            eventually("the proxy has taken everything", || {
                unacknowledged(&upstream) == 0
            });
            reset(upstream);
        })
    };
    let mut received = vec![0; bytes.len()];
    (&client).read_exact(&mut received).unwrap();
    assert!(received == bytes);
    sender.join().unwrap();
    assert!(is_reset(&rest(&client)));
}

#[test]
fn a_reset_by_the_client_reaches_the_upstream_after_what_was_sent_before() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    upstream.write_all(b"connected\n").unwrap();
    assert_eq!(line(&client), "connected");
    client.write_all(b"last words").unwrap();
    eventually("the proxy has taken it", || unacknowledged(&client) == 0);
    reset(client);
    let mut words = [0; 10];
    (&upstream).read_exact(&mut words).unwrap();
    assert_eq!(&words, b"last words");
    assert!(is_reset(&rest(&upstream)));
}

#[test]
fn a_reset_after_a_half_close_is_still_seen() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"");
    reset(client);
    // Reading has ended; the reset shows as an error of the socket.
    eventually("the upstream is told", || {
        upstream.take_error().unwrap().is_some()
    });
}

#[test]
fn an_idle_connection_is_ended_after_the_idle_timeout_and_a_busy_one_is_not() {
    let setup = proxy_with(&["--idle-timeout=400ms"]);
    let (idle, _idle_upstream) = setup.pair();
    let (mut busy, upstream) = setup.pair();
    let ended = std::thread::spawn(move || rest(&idle));
    while !ended.is_finished() {
        busy.write_all(b"x\n").unwrap();
        assert_eq!(line(&upstream), "x");
    }
    assert!(is_reset(&ended.join().unwrap()));
    busy.write_all(b"still here\n").unwrap();
    assert_eq!(line(&upstream), "still here");
}

#[test]
fn on_sigterm_open_connections_end_by_themselves() {
    let setup = proxy_with(&[]);
    let (mut client, upstream) = setup.pair();
    let mut proxy = setup.proxy;
    proxy.signal(libc::SIGTERM);
    proxy.until(|message| message.contains("STOPPING=1"));
    client.write_all(b"one more thing\n").unwrap();
    assert_eq!(line(&upstream), "one more thing");
    drop((client, upstream));
    let (status, log) = proxy.ends();
    assert!(status.success() && log.contains("stopped"), "{log}");
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_ended_also_while_the_proxy_stops() {
    let setup = proxy_with(&["--idle-timeout=300ms", "--drain-timeout=infinity"]);
    let (client, _upstream) = setup.pair();
    let mut proxy = setup.proxy;
    proxy.signal(libc::SIGTERM);
    proxy.until(|message| message.contains("STOPPING=1"));
    assert!(is_reset(&rest(&client)));
    assert!(proxy.ends().0.success());
}

fn unacknowledged(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    assert_eq!(asked, 0);
    bytes
}
