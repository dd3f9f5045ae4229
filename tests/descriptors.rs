//! What comes of it when there are few descriptors, or none any more.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpListener};

use support::*;

/// Numbers that are just enough for something.
fn few() -> impl Iterator<Item = u64> {
    (13..56).step_by(3)
}

fn is_named(running: Running) -> bool {
    let (status, log) = running.ends();
    assert_eq!(status.code(), Some(1), "{log}");
    log.contains("LimitNOFILE=")
}

#[test]
fn a_server_with_few_descriptors_serves_or_fails_and_names_the_limit() {
    for limit in few() {
        let mut address = None;
        let unit = Unit::new(SERVER).listener(&mut address);
        let mut server = unit.limit_descriptors(limit).spawn();
        match server.gets_ready() {
            true => assert_eq!(hello(&connect(address.unwrap())), "Hello world!"),
            false => assert!(is_named(server), "{limit}"),
        }
    }
}

#[test]
fn a_proxy_with_few_descriptors_serves_or_fails_and_names_the_limit() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            stream.unwrap().write_all(b"served").unwrap();
        }
    });
    let mut served = 0;
    for limit in few() {
        let mut address = None;
        let unit = Unit::new(PROXY).listener(&mut address);
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control");
        let mut proxy = unit
            .arg(format!("localhost:{port}"))
            .arg("--control")
            .arg(&control)
            .limit_descriptors(limit)
            .spawn();
        if !proxy.gets_ready() {
            assert!(is_named(proxy), "{limit}");
            continue;
        }
        served += 1;
        let client = connect(address.unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&client).unwrap(), b"served", "{limit}");
        let (status, text) = run_ctl(&control, &["status"]);
        assert_eq!(status, 0, "{limit}: {text}");
    }
    assert!((3..13).contains(&served), "{served}");
}

#[test]
fn the_watchdog_hears_a_sign_of_life_when_no_descriptor_is_left() {
    for program in [SERVER, PROXY] {
        let unit = Unit::new(program).listener(&mut None);
        let mut running = unit.env("WATCHDOG_USEC", "200000").ready();
        running.until(|message| message.contains("WATCHDOG=1"));
        running.limit_descriptors(3);
        for _ in 0..3 {
            running.until(|message| message.contains("WATCHDOG=1"));
        }
    }
}

#[test]
fn a_queue_that_is_full_while_no_descriptor_is_left_is_logged() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let address = listener.local_addr().unwrap();
    let unit = Unit::new(PROXY).socket("clients", listener);
    let mut proxy = unit.arg("unix:/nonexistent/socket").ready();
    proxy.limit_descriptors(3);
    let _client = connect(address);
    proxy.until_logged("1 client waits on");
}
