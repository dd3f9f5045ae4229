//! Reaching the upstream: one that is late, silent or missing.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use crate::setup::*;
use crate::support::*;

#[test]
fn an_upstream_that_comes_late_loses_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late");
    let mut address = None;
    let proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg(&path)
        .arg("--log-level=debug")
        .spawn();
    let client = connect(address.unwrap());
    let mut proxy = proxy;
    proxy.until_logged("is not there yet");
    let upstream = UnixListener::bind(&path).unwrap();
    let (mut upstream, _) = upstream.accept().unwrap();
    upstream.write_all(b"here").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"here");
}

/// Of the two addresses of localhost the first one is silent: the queue there is full, so that the kernel does not
/// answer.
#[test]
fn a_name_whose_first_address_is_silent_is_reached_at_the_next_one() {
    use std::net::ToSocketAddrs;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let target = format!("localhost:{port}");
    let mut addresses: Vec<SocketAddr> = target.to_socket_addrs().unwrap().collect();
    addresses.dedup();
    let [silent, serving] = addresses[..] else {
        return eprintln!("not tested, localhost has other addresses here: {addresses:?}");
    };
    let domain = socket2::Domain::for_address(silent);
    let listener = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    if listener.bind(&silent.into()).is_err() {
        return eprintln!("not tested, {silent} cannot be listened on");
    }
    listener.listen(0).unwrap();
    let _waiting = connect(silent);
    let upstream = TcpListener::bind(serving).unwrap();
    let mut address = None;
    let _proxy = Unit::new(PROXY).listener(&mut address).arg(&target).ready();
    let client = connect(address.unwrap());
    upstream.accept().unwrap().0.write_all(b"here").unwrap();
    assert_eq!(rest(&client).unwrap(), b"here");
}

/// The first attempt waits as long as all attempts together may.
#[test]
fn a_silent_upstream_is_given_up_when_the_connect_timeout_since_the_client_came_is_over() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    silent.listen(0).unwrap();
    let target = silent.local_addr().unwrap().as_socket().unwrap();
    let _waiting = connect(target);
    let mut address = None;
    let _proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg(target.to_string())
        .arg("--connect-timeout=2s")
        .ready();
    let start = Instant::now();
    assert!(is_reset(&rest(&connect(address.unwrap()))));
    let waited = start.elapsed();
    assert!((2.0..3.5).contains(&waited.as_secs_f64()), "{waited:?}");
}

#[test]
fn a_client_whose_upstream_cannot_be_reached_is_reset_and_logged() {
    let mut address = None;
    let mut proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg("unix:/nonexistent/socket")
        .arg("--connect-timeout=50ms")
        .ready();
    let client = connect(address.unwrap());
    assert!(is_reset(&rest(&client)));
    let line = proxy.until_logged("was given up");
    assert!(
        line.contains("unix:/nonexistent/socket") && line.contains("50ms"),
        "{line}"
    );
}

/// The first attempt is a worker's, the second one the last.
#[test]
fn every_failed_attempt_is_logged_at_debug() {
    let mut address = None;
    let mut proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg("unix:/nonexistent/socket")
        .arg("--connect-timeout=1ms")
        .arg("--log-level=debug")
        .ready();
    assert!(is_reset(&rest(&connect(address.unwrap()))));
    for _ in 0..2 {
        let line = proxy.until_logged("/nonexistent/socket");
        assert!(line.contains("is not there yet"), "{line}");
    }
    proxy.until_logged("was given up");
}

#[test]
fn a_client_that_leaves_while_the_upstream_is_down_is_not_waited_for() {
    let mut address = None;
    let unit = Unit::new(PROXY)
        .listener(&mut address)
        .arg("unix:/nonexistent/socket")
        .arg("--log-level=debug")
        .arg("--exit-idle-time=0");
    let client = connect(address.unwrap());
    let mut proxy = unit.spawn();
    proxy.until_logged("is not there yet");
    reset(client);
    let (status, log) = proxy.ends();
    assert!(status.success(), "{log}");
}

#[test]
fn the_upstream_learns_the_address_of_the_client() {
    let setup = proxy_with(&["--proxy-protocol=v1"]);
    let (mut client, upstream) = setup.pair();
    client.write_all(b"hello\n").unwrap();
    let here = client.local_addr().unwrap();
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}",
        here.port(),
        setup.address.port()
    );
    assert_eq!(line(&upstream), expected);
    assert_eq!(line(&upstream), "hello");
}
