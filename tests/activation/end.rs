//! Idle exit, and the end by a signal.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::server;
use crate::support::*;

#[test]
fn after_the_idle_time_it_exits_with_success_and_logs_why() {
    let mut address = None;
    let mut server = server(&mut address).arg("--exit-idle-time=100ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    server.until(|message| message.contains("STOPPING=1"));
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("nobody has used it"), "{log}");
}

#[test]
fn a_client_that_is_connected_keeps_it_alive() {
    let mut address = None;
    let mut server = server(&mut address).arg("--exit-idle-time=50ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    // The idle time passes several times; there is no event to wait for.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(server.is_running());
    assert_eq!(hello(&client), "Hello world!");
}

#[test]
fn with_an_idle_time_of_zero_no_client_is_lost_over_many_starts() {
    const STARTS: usize = 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let starts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&starts);
    // How often it ends before the next client depends on the load of the machine.
    let clients = std::thread::spawn(move || {
        let mut served = 0;
        while served < 300 || seen.load(Relaxed) < STARTS {
            let mut stream = connect(address);
            assert_eq!(hello(&stream), "Hello world!");
            stream.write_all(b"quit\n").unwrap();
            assert_eq!(rest(&stream).unwrap(), b"");
            served += 1;
        }
    });
    while !clients.is_finished() {
        let socket = listener.try_clone().unwrap();
        let (status, log) = Unit::new(SERVER)
            .socket("clients", socket)
            .arg("--exit-idle-time=0")
            .spawn()
            .ends();
        assert!(status.success(), "{log}");
        starts.fetch_add(1, Relaxed);
    }
    clients.join().unwrap();
}

#[test]
fn it_ends_although_nobody_reads_what_it_tells_systemd() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let unit = Unit::new(SERVER).listener(&mut None);
    let mut server = unit.env("NOTIFY_SOCKET", path.to_str().unwrap()).spawn();
    let mut message = [0; 100];
    let count = systemd.recv(&mut message).unwrap();
    assert!(message[..count].starts_with(b"READY=1"));
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"STATUS=", &path).is_ok() {}
    server.signal(libc::SIGTERM);
    eventually("it ends", || !server.is_running());
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
}

#[test]
fn on_sigterm_connections_end_by_themselves_and_nobody_new_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Unit::new(SERVER)
        .socket("clients", listener.try_clone().unwrap())
        .ready();
    let mut client = connect(address);
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    server.until(|message| message.contains("STOPPING=1"));
    server.until(|message| message.contains("EXTEND_TIMEOUT_USEC="));
    let waiting = connect(address);
    assert_eq!(hello(&client), "Hello world!", "it goes on");
    client.write_all(b"quit\n").unwrap();
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    // The late client is served by the next process.
    let _next = Unit::new(SERVER).socket("clients", listener).ready();
    assert_eq!(hello(&waiting), "Hello world!");
}

#[test]
fn connections_that_do_not_end_are_cut_after_the_drain_timeout() {
    let mut address = None;
    let server = server(&mut address).arg("--drain-timeout=100ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("1 connection was cut off"), "{log}");
    let error = rest(&client).expect_err("it looks whole");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut address = None;
    let mut server = server(&mut address).arg("--drain-timeout=infinity").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    server.until(|message| message.contains("STOPPING=1"));
    server.signal(libc::SIGINT);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("told twice"), "{log}");
}
