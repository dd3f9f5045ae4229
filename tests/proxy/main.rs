//! The proxy's data path: what passes, what waits, and how connections end.

#[path = "../support/mod.rs"]
mod support;

mod endings;
mod setup;
mod upstream;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use setup::*;
use support::*;

#[test]
fn bytes_pass_unchanged_in_both_directions_at_once() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    let bytes = pattern(20_000_000);
    let send = |mut stream: TcpStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let up = send(client.try_clone().unwrap(), bytes.clone());
    let down = send(
        upstream.try_clone().unwrap(),
        bytes.iter().rev().copied().collect(),
    );
    let received = std::thread::spawn(move || rest(&upstream).unwrap());
    let mut answered = rest(&client).unwrap();
    answered.reverse();
    assert!(answered == bytes);
    assert!(received.join().unwrap() == bytes);
    up.join().unwrap();
    down.join().unwrap();
}

#[test]
fn a_client_that_shuts_down_its_writing_side_still_gets_the_answer() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"question");
    upstream.write_all(b"answer").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"answer");
}

#[test]
fn an_upstream_that_shuts_down_its_writing_side_still_hears_the_client() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    upstream.write_all(b"greeting").unwrap();
    upstream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"greeting");
    client.write_all(b"thanks").unwrap();
    drop(client);
    assert_eq!(rest(&upstream).unwrap(), b"thanks");
}

#[test]
fn a_slow_reader_holds_back_a_fast_writer_and_loses_nothing() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    let bytes = pattern(1_000_000);
    upstream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut full = 0;
    // Until nothing more fits between the two for a while.
    while full < 20 {
        match (&upstream).write(&bytes[sent % bytes.len()..]) {
            Ok(count) => (sent, full) = (sent + count, 0),
            Err(_) => {
                full += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
    assert!(
        sent < 100_000_000,
        "{sent} bytes were taken for a client that does not read"
    );
    drop(upstream);
    let received = rest(&client).unwrap();
    assert_eq!(received.len(), sent);
    assert!(
        received
            .iter()
            .zip(bytes.iter().cycle())
            .all(|(a, b)| a == b)
    );
}

#[test]
fn clients_and_upstreams_can_be_af_unix() {
    let directory = tempfile::tempdir().unwrap();
    let (front, back) = (
        directory.path().join("front"),
        directory.path().join("back"),
    );
    let upstream = UnixListener::bind(&back).unwrap();
    let listener = UnixListener::bind(&front).unwrap();
    let _proxy = Unit::new(PROXY)
        .socket("clients", listener)
        .arg(&back)
        .ready();
    let mut client = std::os::unix::net::UnixStream::connect(&front).unwrap();
    let (mut upstream, _) = upstream.accept().unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut question = String::new();
    upstream.read_to_string(&mut question).unwrap();
    upstream.write_all(b"answer").unwrap();
    drop(upstream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
}

#[test]
fn when_descriptors_run_out_clients_wait_and_are_served_later() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let mut address = None;
    // Room for 8 connections at a time.
    let mut proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg(target)
        .limit_descriptors(80)
        .ready();
    let address = address.unwrap();
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(address)).collect();
    let server = std::thread::spawn(move || {
        for stream in upstream.incoming().take(40) {
            stream.unwrap().write_all(b"served").unwrap();
        }
    });
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"served");
        client.shutdown(Shutdown::Both).unwrap();
    }
    server.join().unwrap();
    assert!(proxy.is_running());
}

#[test]
fn when_descriptors_run_out_later_accepted_clients_do_not_starve() {
    let setup = proxy_with(&["--connect-timeout=2s"]);
    let limit = libc::rlimit {
        rlim_cur: 40,
        rlim_max: 40,
    };
    // SAFETY: prlimit(2) reads one struct and writes none.
    let result = unsafe {
        libc::prlimit(
            setup.proxy.pid(),
            libc::RLIMIT_NOFILE,
            &limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(setup.address)).collect();
    let upstream = setup.upstream.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        for stream in upstream.incoming().take(100) {
            stream.unwrap().write_all(b"served").unwrap();
        }
    });
    for client in clients {
        assert_eq!(rest(&client).unwrap(), b"served");
    }
    server.join().unwrap();
}

#[test]
fn the_client_that_starts_the_proxy_is_probed_like_later_ones() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = connect(listener.local_addr().unwrap());
    let mut setup = None;
    let _proxy = Unit::new(PROXY)
        .socket("clients", listener)
        .arg(upstream.local_addr().unwrap().to_string())
        .arg("--keepalive=10s")
        .listener(&mut setup)
        .ready();
    let _first_upstream = upstream.accept().unwrap();
    let later = connect(setup.unwrap());
    let _later_upstream = upstream.accept().unwrap();
    for client in [first, later] {
        let port = client.local_addr().unwrap().port();
        // /proc/net/tcp: the timer of a socket that is probed when idle is number 2.
        eventually("it is probed", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let remote = format!("0100007F:{port:04X} 01 ");
            let line = table.lines().find(|line| line.contains(&remote));
            line.is_some_and(|line| line.split_whitespace().nth(5).unwrap().starts_with("02:"))
        });
    }
}

#[test]
fn after_the_idle_time_it_ends_and_the_next_process_serves_the_next_client() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..50 {
        let client = connect(address);
        let socket = listener.try_clone().unwrap();
        let unit = Unit::new(PROXY).socket("clients", socket).arg(&target);
        let proxy = unit.arg("--exit-idle-time=0").spawn();
        upstream.accept().unwrap().0.write_all(b"served").unwrap();
        assert_eq!(rest(&client).unwrap(), b"served");
        drop(client);
        let (status, log) = proxy.ends();
        assert!(status.success(), "{log}");
    }
}
