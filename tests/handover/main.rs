//! Direct handover: clients are accepted by the proxy, served by the server, and counted by the
//! proxy until the server is done with them.

#[path = "../support/mod.rs"]
mod support;

mod services;
mod setup;
mod survival;
mod waiting;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use setup::*;
use support::*;

#[test]
fn a_client_sees_what_it_would_see_without_a_proxy() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    assert_eq!(hello(&client), "Hello world!");
    (&client).write_all(b"quit\n").unwrap();
    assert_eq!(rest(&client).unwrap(), b"");
    let mut client = setup.connect();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"Hello world!\r\n");
}

#[test]
fn a_client_is_counted_with_its_bytes_until_the_server_is_done_with_it() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let (one, status) = (&setup.connections()[0], setup.status());
    assert_eq!(one["peer"], client.local_addr().unwrap().to_string());
    assert_eq!(one["upstream"], setup.target());
    assert_eq!(
        (&one["receivedBytes"], &one["sentBytes"]),
        (&6.into(), &14.into())
    );
    assert_eq!(status["open"], 1);
    eventually("the target is reached", || {
        setup.status()["upstream"]["reachedUSec"].is_u64()
    });
    drop(client);
    setup.open_becomes(0);
    let status = setup.status();
    assert_eq!(status["accepted"], 1);
    assert_eq!(
        (&status["receivedBytes"], &status["sentBytes"]),
        (&6.into(), &14.into())
    );
    assert!(setup.connections().is_empty());
}

#[test]
fn a_lock_waits_for_handed_over_clients_and_accepts_no_other() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let mut lock = setup.begin_lock(&[]);
    let waiting = setup.connect();
    assert_eq!(hello(&client), "Hello world!");
    assert_eq!(setup.status()["gate"], "draining");
    assert!(lock.try_wait().unwrap().is_none());
    drop(client);
    assert!(lock.wait().unwrap().success());
    let status = setup.status();
    assert_eq!(
        (&status["gate"], &status["queued"]),
        (&"locked".into(), &1.into())
    );
    setup.does(&["unlock"]);
    assert_eq!(hello(&waiting), "Hello world!");
}

#[test]
fn what_is_no_client_is_not_served_and_disturbs_nobody() {
    use std::os::fd::AsFd;
    let setup = Setup::new();
    let mut server = setup.server();
    let _proxy = setup.proxy();
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.connect(setup.path("queue")).unwrap();
    let (file, _other) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (pair, mut its_end) = UnixStream::pair().unwrap();
    let listening = setup.listener.as_fd();
    for (bytes, descriptors) in [
        (&b"clients/1"[..], vec![]),
        (b"", vec![]),
        (b"clients/1", vec![pair.as_fd()]),
        (b"clients/1", vec![pair.as_fd(); 3]),
        (b"clients/1", vec![null.as_fd(), null.as_fd()]),
        (b"clients/1", vec![file.as_fd(), null.as_fd()]),
        (b"clients/1", vec![listening, null.as_fd()]),
        (b"clients/1", vec![stranger.as_fd(), null.as_fd()]),
        (b"garbage", vec![pair.as_fd(); 2]),
        (&[0xff; 100_000], vec![pair.as_fd(); 200]),
    ] {
        send_raw(&stranger, bytes, &descriptors);
    }
    drop(pair);
    server.until_logged("no client");
    assert_eq!(hello(&setup.client()), "Hello world!");
    assert_eq!(its_end.read(&mut [0]).unwrap(), 0, "nobody has kept it");
    assert!(server.is_running());
}

#[test]
fn a_client_whose_socket_would_block_delays_no_other() {
    use std::os::fd::AsFd;
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.connect(setup.path("queue")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = connect(listener.local_addr().unwrap());
    let (blocking, _) = listener.accept().unwrap();
    let (_end, token) = std::io::pipe().unwrap();
    send_raw(&stranger, b"clients/1", &[blocking.as_fd(), token.as_fd()]);
    // It has its answer and sends nothing more: a receive would block.
    assert_eq!(hello(&client), "Hello world!");
    assert_eq!(hello(&setup.client()), "Hello world!");
    assert_eq!(hello(&client), "Hello world!");
}

/// Waits for room.
fn send_raw(socket: &UnixDatagram, bytes: &[u8], descriptors: &[std::os::fd::BorrowedFd<'_>]) {
    let flags = rustix::net::SendFlags::empty();
    disnix_proxy_example::service::rights::send(socket, bytes, descriptors, flags).unwrap();
}

#[test]
fn a_connection_can_be_closed_forced_and_timed_out_although_the_server_has_it() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy_with(&["--idle-timeout=1s"]));
    let client = setup.client();
    let id = setup.connections()[0]["id"].to_string();
    setup.does(&["close", &id]);
    assert!(is_reset(&client));
    setup.open_becomes(0);

    let client = setup.client();
    setup.does(&["lock", "--force-after=0"]);
    assert!(is_reset(&client));
    setup.does(&["unlock"]);

    let idle = setup.client();
    let busy = setup.client();
    let ended = std::thread::spawn(move || is_reset(&idle));
    while !ended.is_finished() {
        assert_eq!(hello(&busy), "Hello world!");
        std::thread::yield_now();
    }
    assert!(ended.join().unwrap());
    assert_eq!(hello(&busy), "Hello world!");
}

#[test]
fn a_server_that_hangs_does_not_hold_up_a_lock_that_forces() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    server.stop();
    setup.does(&["lock", "--force-after=0"]);
    assert!(is_reset(&client));
    assert_eq!(setup.status()["gate"], "locked");
    setup.does(&["unlock"]);
    server.signal(libc::SIGCONT);
    assert_eq!(hello(&setup.client()), "Hello world!");
}

#[test]
fn without_a_place_for_the_tokens_clients_are_handed_over_all_the_same() {
    let setup = Setup::new();
    let _server = setup.server();
    let mut unit = Unit::new(PROXY)
        .socket("clients", setup.listener.try_clone().unwrap())
        .arg(setup.target());
    unit = unit.env("RUNTIME_DIRECTORY", "").arg("--exit-idle-time=0");
    let client = setup.connect();
    let proxy = unit.spawn();
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    ends_well(proxy);
}

#[test]
fn an_af_unix_client_is_handed_over_too() {
    let setup = Setup::new();
    let _server = setup.server();
    let front = setup.path("front");
    let _proxy = Unit::new(PROXY)
        .socket("clients", UnixListener::bind(&front).unwrap())
        .arg("--control")
        .arg(setup.path("control"))
        .arg(setup.target())
        .ready();
    let mut client = UnixStream::connect(&front).unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Hello world!\r\n");
    setup.open_becomes(0);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let setup = Setup::new();
    for option in ["--proxy-protocol=v2", "--requests=http"] {
        let (name, _) = option.split_once('=').unwrap();
        let unit = setup.proxy_unit().arg(setup.target()).arg(option);
        let (status, log) = unit.fails();
        assert!(!status.success() && log.contains(name), "{log}");
        let proxy = setup.proxy_unit().arg(option).ready();
        for verb in ["set-target", "switch"] {
            let (status, text) = setup.ctl(&[verb, &setup.target()]);
            assert!(status != 0 && text.contains(name), "{text}");
        }
        drop(proxy);
    }
    let (status, log) = Unit::new(PROXY).arg("--listen").arg(setup.target()).fails();
    assert!(!status.success() && log.contains("handed over"), "{log}");
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, log) = Unit::new(SERVER).socket("handover", stream).fails();
    assert!(
        !status.success() && log.contains("ListenDatagram="),
        "{log}"
    );
}

#[test]
fn many_clients_at_a_time_are_all_served_and_all_counted() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.quiet_proxy(&[]));
    let address = setup.address();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..250 {
                    let client = connect(address);
                    assert_eq!(hello(&client), "Hello world!");
                    (&client).write_all(b"quit\n").unwrap();
                    assert_eq!(rest(&client).unwrap(), b"");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    setup.open_becomes(0);
    let status = setup.status();
    assert_eq!(status["accepted"], 2000);
    assert_eq!(status["receivedBytes"], 2000 * 11);
    assert_eq!(status["sentBytes"], 2000 * 14);
    assert!(names(&setup.path("handed-over")) < 200);
}

fn names(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}
