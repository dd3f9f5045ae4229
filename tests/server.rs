//! `hello-world-server` towards its clients, kind and hostile ones.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use support::*;

fn server() -> (Running, SocketAddr) {
    let mut address = None;
    let server = Unit::new(SERVER).listener(&mut address).ready();
    (server, address.unwrap())
}

/// What is answered to these bytes, when they are followed by the end.
fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(rest(&stream).unwrap()).unwrap()
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let (_server, address) = server();
    assert_eq!(answer(address, b"hello\r\n"), "Hello world!\r\n");
    assert_eq!(answer(address, b"hello"), "Hello world!\r\n");
    assert_eq!(answer(address, b"hello\nhello\n").lines().count(), 2);
    assert_eq!(answer(address, b""), "");
}

#[test]
fn quit_ends_the_connection() {
    let (_server, address) = server();
    let mut stream = connect(address);
    stream.write_all(b"hello\nquit\nhello\n").unwrap();
    let mut answer = String::new();
    // Bytes after quit may make the end a reset; the answer has arrived by then.
    let _ = stream.read_to_string(&mut answer);
    assert_eq!(answer, "Hello world!\r\n");
}

#[test]
fn what_is_not_understood_is_answered_in_one_line() {
    let (_server, address) = server();
    assert!(answer(address, b"help\n").contains("hello and quit"));
    assert!(answer(address, &[b'x'; 5000]).contains("1024"));
    assert!(answer(address, b"\xff\xff\n").contains("UTF-8"));
    assert!(answer(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").contains("hello and quit"));
}

#[test]
fn a_client_that_sends_megabytes_of_garbage_still_reads_why_it_is_sent_away() {
    let (_server, address) = server();
    let mut stream = connect(address);
    let _ = stream.write_all(&[b'x'; 500_000]);
    assert!(line(&stream).contains("1024"));
}

#[test]
fn a_client_that_never_reads_holds_up_nobody_else() {
    let (_server, address) = server();
    let mut greedy = connect(address);
    greedy.set_nonblocking(true).unwrap();
    // Until the server does not read any more, because it cannot write.
    while greedy.write(&b"hello\n".repeat(1000)).is_ok() {}
    assert_eq!(hello(&connect(address)), "Hello world!");
}

#[test]
fn a_client_that_resets_its_connection_holds_up_nobody_else() {
    let (mut server, address) = server();
    for _ in 0..50 {
        let mut stream = connect(address);
        stream.write_all(b"hello\n").unwrap();
        reset(stream);
    }
    assert_eq!(hello(&connect(address)), "Hello world!");
    assert!(server.is_running());
}

#[test]
fn the_greeting_can_be_chosen() {
    let mut address = None;
    let _server = Unit::new(SERVER)
        .listener(&mut address)
        .env("HELLO_WORLD_SERVER_GREETING", "Hi")
        .ready();
    assert_eq!(hello(&connect(address.unwrap())), "Hi");
}

#[test]
fn it_waits_for_an_address_that_its_predecessor_still_has() {
    let predecessor = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = predecessor.local_addr().unwrap();
    let listen = format!("--listen={address}");
    let successor = || Unit::new(SERVER).arg(&listen);

    let (status, log) = successor().arg("--bind-timeout=30ms").fails();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("in use"), "{log}");

    let mut server = successor().arg("--bind-timeout=infinity").spawn();
    server.until_logged("waiting for the address");
    drop(predecessor);
    server.until(|message| message.contains("READY=1"));
    assert_eq!(hello(&connect(address)), "Hello world!");
}

/// A systemd that is busy, or does not run, takes a few messages and no more.
#[test]
fn clients_are_served_while_systemd_reads_nothing_and_it_hears_of_them_later() {
    let (mut server, address) = server();
    let busy = UnixDatagram::unbound().unwrap();
    busy.set_nonblocking(true).unwrap();
    let notify = server.directory().join("notify");
    while busy.send_to(b"FULL=1", &notify).is_ok() {}
    let held = connect(address);
    // Longer than the status stays unsaid.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        assert_eq!(hello(&held), "Hello world!");
        assert_eq!(answer(address, b"hello"), "Hello world!\r\n");
    }
    server.until(|said| said.starts_with("STATUS=1 open"));
}
