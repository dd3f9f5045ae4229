//! `--health`: what load balancers learn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::setup::*;
use crate::support::*;

/// A proxy with one more socket from systemd, for load balancers, and the address of that.
fn start(setup: &Setup, options: &[&str]) -> (Running, SocketAddr) {
    let health = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = health.local_addr().unwrap();
    let directory = setup.directory.path().to_str().unwrap();
    let unit = Unit::new(PROXY)
        .socket("clients", health)
        .socket("clients", setup.listener.try_clone().unwrap())
        .socket("varlink", setup.control.try_clone().unwrap())
        .env("RUNTIME_DIRECTORY", directory)
        .env("STATE_DIRECTORY", directory)
        .env("DISNIX_TCP_PROXY_HEALTH", &address.to_string());
    let words = setup
        .options
        .iter()
        .map(String::as_str)
        .chain(options.iter().copied());
    (words.fold(unit, Unit::arg).ready(), address)
}

/// Sends this line of a request; returns the first line of the answer and its body.
fn ask_with(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address);
    write!(stream, "{request}\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap();
    (status.to_owned(), body.trim_end().to_owned())
}

fn ask(address: SocketAddr) -> (String, String) {
    ask_with(address, "GET / HTTP/1.1")
}

#[track_caller]
fn passes(address: SocketAddr) {
    assert_eq!(
        ask(address),
        ("HTTP/1.0 200 OK".to_owned(), "OK".to_owned())
    );
}

#[track_caller]
fn does_not_pass(address: SocketAddr, why: &str) {
    let expected = "HTTP/1.0 503 Service Unavailable".to_owned();
    assert_eq!(ask(address), (expected, why.to_owned()));
}

/// A connection to the upstream that was closed at once, and carried nothing.
fn probed(upstream: &TcpListener) {
    let (probe, _) = upstream.accept().unwrap();
    probe.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(rest(&probe).unwrap(), b"");
}

#[test]
fn clients_pass_while_the_gate_is_open_and_those_who_ask_are_no_clients() {
    let setup = Setup::new();
    let (_proxy, health) = start(&setup, &[]);
    passes(health);
    probed(&setup.upstream);
    // It was reached just now.
    passes(health);
    setup.does(&["lock"]);
    does_not_pass(health, "the proxy is locked");
    setup.does(&["unlock"]);
    passes(health);
    let status = setup.status();
    assert_eq!(
        (&status["open"], &status["accepted"]),
        (&0.into(), &0.into())
    );

    let (_client, _upstream) = setup.pair();
    let mut lock = setup.begin_lock(&[]);
    does_not_pass(health, "the proxy is locked, and draining");
    lock.kill().unwrap();
    lock.wait().unwrap();
    eventually("the gate opens", || setup.gate() == "open");
    passes(health);
}

#[test]
fn clients_do_not_pass_without_a_target_or_to_an_upstream_that_is_away() {
    let setup = Setup::without_target();
    let (_proxy, health) = start(&setup, &[]);
    does_not_pass(health, "the proxy has no target");
    let path = setup.directory.path().join("late");
    setup.does(&["set-target", path.to_str().unwrap()]);
    let reason = "the upstream is not reached: its socket does not exist";
    does_not_pass(health, reason);
    let text = setup.does(&["status"]);
    assert!(text.contains("Upstream: not reached since "), "{text}");
    let _upstream = UnixListener::bind(&path).unwrap();
    eventually("it is reached", || ask(health).1 == "OK");
}

#[test]
fn a_full_proxy_says_so() {
    let setup = Setup::new();
    let (_proxy, health) = start(&setup, &["--connections-max=1"]);
    let (client, upstream) = setup.pair();
    eventually("it is full", || ask(health).1 == "the proxy is full");
    drop((client, upstream));
    eventually("it has room", || ask(health).1 == "OK");
}

#[test]
fn peers_that_say_nothing_delay_no_other_one() {
    let setup = Setup::new();
    let (_proxy, health) = start(&setup, &[]);
    let _silent: Vec<TcpStream> = (0..100).map(|_| connect(health)).collect();
    passes(health);
    for (request, status) in [
        ("HEAD /any HTTP/1.1", "HTTP/1.0 200 OK"),
        ("OPTIONS / HTTP/1.0", "HTTP/1.0 200 OK"),
        ("POST / HTTP/1.1", "HTTP/1.0 405 Method Not Allowed"),
        ("SSH-2.0-OpenSSH_9.2", "HTTP/1.0 400 Bad Request"),
    ] {
        assert_eq!(ask_with(health, request).0, status, "{request}");
    }
}

#[test]
fn those_who_ask_do_not_keep_it_awake() {
    let setup = Setup::new();
    let (mut proxy, health) = start(&setup, &["--exit-idle-time=100ms"]);
    while proxy.is_running() {
        // The last one gets no answer: the socket was only the process's.
        if let Ok(mut stream) = TcpStream::connect(health) {
            let _ = write!(stream, "GET / HTTP/1.0\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, log) = proxy.ends();
    assert!(status.success(), "{log}");
}

#[test]
fn clients_are_served_also_if_no_socket_is_for_load_balancers() {
    let setup = Setup::new();
    let mut proxy = setup.start_with(&["--health=127.0.0.1:1"]);
    let line = proxy.until_logged("no load balancer is answered");
    assert!(line.contains("127.0.0.1:1"), "{line}");
    let (_client, _upstream) = setup.pair();
}
