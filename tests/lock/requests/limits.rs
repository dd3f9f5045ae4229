//! What limits the time and the number of clients that stay, and what ends them or the lock that they wait for.

use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

const TLS: &str = "\x16\x03\x01 TLS";

/// Two clients that have had a reply, and are detached: by a lock, which stays.
fn two_detached(setup: &Setup) -> [TcpStream; 2] {
    let clients = [(); 2].map(|()| {
        let (client, upstream) = setup.pair();
        exchange(&client, &upstream, "/1");
        client
    });
    setup.does(&["lock"]);
    until_detached(setup, 2);
    clients
}

/// It gets its reply from its next upstream.
fn is_answered(setup: &Setup, client: &TcpStream, path: &str) -> TcpStream {
    let upstream = accept(setup);
    answer(&upstream, client, path, path);
    upstream
}

#[test]
fn a_detached_client_is_reset_after_the_idle_time() {
    let setup = Setup::new();
    let mut proxy = setup.start_with(&["--requests=http", "--idle-timeout=1s"]);
    let [one, other] = two_detached(&setup);
    // What it says meanwhile is not carried.
    send(&one, &get("/2"));
    rest(&one).unwrap_err();
    rest(&other).unwrap_err();
    let log = proxy.until_logged("was ended");
    assert!(log.contains("idle timeout"), "{log}");
    until_detached(&setup, 0);
    assert_eq!(setup.gate(), "locked");
}

#[test]
fn a_client_that_does_not_read_its_last_reply_is_reset_and_one_that_waits_for_the_gate_is_not() {
    let setup = Setup::new();
    let _proxy = setup.start_with(&["--requests=http", "--stall-timeout=1s"]);
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    deaf.connect(&setup.address().into()).unwrap();
    let deaf = TcpStream::from(deaf);
    let deaf_upstream = accept(&setup);
    let (waiting, upstream) = setup.pair();
    exchange(&waiting, &upstream, "/1");
    send(&deaf, &get("/"));
    receive(&deaf_upstream, &get("/"));
    send(&deaf_upstream, &reply(&"x".repeat(100_000)));
    setup.does(&["lock"]);
    until_detached(&setup, 2);
    send(&waiting, &get("/2"));
    until_detached(&setup, 1);
    let mut bytes = Vec::new();
    (&deaf).read_to_end(&mut bytes).unwrap_err();
    setup.does(&["unlock"]);
    is_answered(&setup, &waiting, "/2");
}

#[test]
fn a_detached_client_can_be_closed() {
    let mut setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let [silent, waiting] = two_detached(&setup);
    send(&waiting, &get("/2"));
    setup.does(&["close", "1"]);
    rest(&silent).unwrap_err();
    setup.does(&["close", "2"]);
    rest(&waiting).unwrap_err();
    until_detached(&setup, 0);
    // One that waits for its upstream when the gate closes.
    setup.does(&["unlock"]);
    setup.upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held = connect(setup.address());
    send(&held, &get("/3"));
    eventually("it is accepted", || open(&setup) == 1);
    setup.does(&["lock"]);
    assert_eq!(detached(&setup), 1);
    setup.does(&["close", "3"]);
    rest(&held).unwrap_err();
    until_detached(&setup, 0);
}

#[test]
fn a_drain_that_ends_idle_connections_ends_no_client_that_can_be_detached() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (staying, its_upstream) = setup.pair();
    exchange(&staying, &its_upstream, "/1");
    let (opaque, its_upstream) = setup.pair();
    send(&opaque, TLS);
    receive(&its_upstream, TLS);
    send(&its_upstream, "and back");
    receive(&opaque, "and back");
    let (busy, busy_upstream) = setup.pair();
    send(&busy, &get("/busy"));
    receive(&busy_upstream, &get("/busy"));
    let lock = std::thread::scope(|scope| {
        let lock = scope.spawn(|| setup.does(&["lock", "--close-idle", "50ms"]));
        assert_eq!(rest(&opaque).unwrap(), b"");
        until_detached(&setup, 1);
        assert_eq!(setup.gate(), "draining");
        send(&busy_upstream, &reply("busy"));
        receive(&busy, &reply("busy"));
        lock.join().unwrap()
    });
    assert!(lock.contains("locked: 0 connections open"), "{lock}");
    assert!(lock.contains("1 idle one closed"), "{lock}");
    assert_eq!(detached(&setup), 2);
    setup.does(&["unlock"]);
    for client in [&staying, &busy] {
        send(client, &get("/2"));
        is_answered(&setup, client, "/2");
    }
}

#[test]
fn clients_that_have_spoken_are_attached_at_the_end_of_a_lease() {
    let setup = Setup::new();
    let mut proxy = setup.start_with(HTTP);
    let [silent, waiting] = two_detached(&setup);
    send(&waiting, &get("/2"));
    setup.does(&["lock", "--lease", "10min"]);
    assert_eq!(detached(&setup), 2, "a lock without a lease is in force");
    setup.does(&["unlock"]);
    let _upstream = is_answered(&setup, &waiting, "/2");
    setup.does(&["lock", "--lease", "200ms"]);
    send(&waiting, &get("/3"));
    is_answered(&setup, &waiting, "/3");
    assert!(proxy.until_logged("lease").contains("WARN"));
    send(&silent, &get("/4"));
    is_answered(&setup, &silent, "/4");
}

#[test]
fn they_are_attached_when_the_caller_dies_that_holds_the_lock() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    // The command runs until its standard input is closed.
    let mut lock = ctl(&setup.control(), &["lock", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    assert_eq!((setup.gate(), detached(&setup)), ("locked".to_owned(), 1));
    lock.kill().unwrap();
    lock.wait().unwrap();
    is_answered(&setup, &client, "/2");
}

#[test]
fn detached_clients_count_for_the_number_of_connections() {
    let setup = Setup::new();
    let _proxy = setup.start_with(&["--requests=http", "--connections-max=2"]);
    let [one, other] = two_detached(&setup);
    let third = connect(setup.address());
    send(&third, &get("/third"));
    setup.does(&["unlock"]);
    // There is room for those that are connected.
    send(&one, &get("/2"));
    let _upstream = is_answered(&setup, &one, "/2");
    let status = setup.status();
    let [open, detached, queued] = ["open", "detached", "queued"].map(|name| &status[name]);
    assert_eq!((open, detached, queued), (&1.into(), &1.into(), &1.into()));
    drop(other);
    is_answered(&setup, &third, "/third");
}

#[test]
fn detached_clients_count_for_the_connections_of_their_source() {
    let setup = Setup::new();
    let _proxy = setup.start_with(&["--requests=http", "--connections-max-per-source=2"]);
    let [one, other] = two_detached(&setup);
    setup.does(&["unlock"]);
    rest(&connect(setup.address())).unwrap_err();
    send(&one, &get("/2"));
    let _upstream = is_answered(&setup, &one, "/2");
    drop(other);
    until_detached(&setup, 0);
    let third = connect(setup.address());
    send(&third, &get("/third"));
    is_answered(&setup, &third, "/third");
}

#[test]
fn a_request_for_which_a_fresh_upstream_was_taken_is_not_idle() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    // After that time the upstream may be about to end, and a POST gets another one.
    std::thread::sleep(Duration::from_millis(600));
    let post = "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n1";
    send(&client, post);
    let upstream = accept(&setup);
    receive(&upstream, post);
    let lock = ["lock", "--close-idle", "100ms", "--timeout", "500ms"];
    assert_ne!(setup.ctl(&lock).0, 0);
    send(&upstream, &reply("1"));
    receive(&client, &reply("1"));
}
