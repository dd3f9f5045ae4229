//! Clients that cannot be handed over at once, or come back.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use disnix_proxy_example::service::handover::wire::CLIENTS_MAX;

use crate::setup::*;
use crate::support::*;

#[test]
fn clients_that_come_while_no_server_runs_are_served_by_the_next_one() {
    let setup = Setup::new();
    let _proxy = setup.quiet_proxy(&[]);
    // More than can wait in the socket's own queue (net.unix.max_dgram_qlen).
    let clients: Vec<TcpStream> = (0..1000).map(|_| setup.connect()).collect();
    setup.open_becomes(1000);
    let _server = setup.server();
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
}

/// How many clients a socket's queue can hold at most, see unix(7).
fn in_queue() -> u64 {
    let path = "/proc/sys/net/unix/max_dgram_qlen";
    let datagrams: u64 = std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // One more than that is queued, `unix_recvq_full` in net/unix/af_unix.c.
    (datagrams + 1) * CLIENTS_MAX as u64
}

#[test]
fn a_server_that_comes_and_goes_all_the_time_loses_nobody() {
    let setup = Setup::new();
    let _proxy = setup.quiet_proxy(&[]);
    for _ in 0..30 {
        let client = setup.connect();
        // A server without a client exits at once, and here nothing starts it again.
        setup.until_handed_over();
        let unit = setup.server_unit().arg("--exit-idle-time=0");
        let server = unit.spawn();
        assert_eq!(hello(&client), "Hello world!");
        drop(client);
        ends_well(server);
        setup.open_becomes(0);
    }
}

#[test]
fn clients_that_a_killed_server_had_not_begun_to_serve_are_served_by_the_next_one() {
    let setup = Setup::new();
    let _proxy = setup.quiet_proxy(&[]);
    let clients: Vec<TcpStream> = (0..300).map(|_| setup.connect()).collect();
    setup.open_becomes(300);
    for _ in 0..10 {
        // It is killed when it is dropped: some clients are in its queue then, some in its memory.
        drop(setup.server());
    }
    let _server = setup.server();
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    setup.open_becomes(300);
}

#[test]
fn a_client_that_gave_up_while_no_server_ran_is_not_waited_for() {
    let setup = Setup::new();
    let _proxy = setup.quiet_proxy(&[]);
    let clients: Vec<TcpStream> = (0..1000).map(|_| setup.connect()).collect();
    setup.open_becomes(1000);
    clients.into_iter().for_each(reset);
    // Except clients in the socket's queue, where no process looks at them.
    eventually("they are gone", || {
        setup.status()["open"].as_u64().unwrap() <= in_queue()
    });
    let _server = setup.server();
    setup.open_becomes(0);
}

#[test]
fn a_server_without_descriptors_lets_clients_wait() {
    let setup = Setup::new();
    let mut server = setup.server();
    let _proxy = setup.proxy();
    let limit = libc::rlimit {
        rlim_cur: 24,
        rlim_max: 24,
    };
    // SAFETY: prlimit(2) reads one struct and writes none.
    let result = unsafe {
        libc::prlimit(
            server.pid(),
            libc::RLIMIT_NOFILE,
            &limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    let silent: Vec<TcpStream> = (0..30).map(|_| setup.connect()).collect();
    server.until_logged("cannot accept");
    let clients: Vec<TcpStream> = (0..60).map(|_| setup.connect()).collect();
    for mut client in &clients {
        client.write_all(b"hello\nquit\n").unwrap();
    }
    drop(silent);
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"Hello world!\r\n");
    }
    assert!(server.is_running());
    setup.open_becomes(0);
}

#[test]
fn the_target_can_change_between_the_kinds_and_waiting_clients_follow() {
    let setup = Setup::new();
    // Nobody else listens at this address once it is given up.
    let upstream = TcpListener::bind("127.64.7.1:0").unwrap();
    let ordinary = upstream.local_addr().unwrap().to_string();
    let nobody = format!("handover:{}", setup.path("nobody").display());
    let _proxy = setup.proxy_unit().ready();
    // Clients that wait for a handover are relayed after a change of the target, ...
    setup.does(&["set-target", &nobody]);
    let client = setup.connect();
    setup.open_becomes(1);
    setup.does(&["set-target", &ordinary]);
    upstream.accept().unwrap().0.write_all(b"relayed").unwrap();
    assert_eq!(rest(&client).unwrap(), b"relayed");
    drop(client);
    // ... and clients that wait for an upstream are handed over.
    close_listener(upstream);
    let client = setup.connect();
    setup.open_becomes(1);
    setup.does(&["set-target", &setup.target()]);
    let _server = setup.server();
    assert_eq!(hello(&client), "Hello world!");
    setup.does(&["set-target", "unix:/nonexistent"]);
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    setup.does(&["switch", &setup.target()]);
    assert_eq!(hello(&setup.client()), "Hello world!");
}

#[test]
fn a_target_that_nobody_receives_at_is_given_up_after_the_connect_timeout() {
    let setup = Setup::new();
    let nobody = format!("handover:{}", setup.path("nobody").display());
    let unit = setup.proxy_unit().arg(nobody);
    let mut proxy = unit.arg("--connect-timeout=100ms").ready();
    assert!(is_reset(&setup.connect()));
    proxy.until_logged("cannot reach handover:");
    setup.open_becomes(0);
    assert_eq!(setup.status()["unreachable"], 1);
    // And one from which no process receives.
    drop(proxy);
    let _proxy = setup.quiet_proxy(&["--connect-timeout=500ms"]);
    let clients: Vec<TcpStream> = (0..600).map(|_| setup.connect()).collect();
    eventually("those without a place in the queue are given up", || {
        setup.status()["unreachable"].as_u64().unwrap() >= 600_u64.saturating_sub(in_queue())
    });
    drop(clients);
}

#[test]
fn one_that_only_ever_hangs_up_is_not_handed_a_client_for_ever() {
    let setup = Setup::new();
    let _proxy = setup.proxy_with(&["--connect-timeout=300ms"]);
    let queue = setup.queue.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        // The descriptors are closed by the kernel: there is no room for them.
        while queue.recv(&mut byte).is_ok() {}
    });
    assert!(is_reset(&setup.connect()));
    setup.open_becomes(0);
    assert_eq!(setup.status()["unreachable"], 1);
}

#[test]
fn a_server_that_has_its_socket_itself_can_be_killed_with_clients_waiting() {
    let setup = Setup::new();
    let path = setup.path("own");
    let server = || Unit::new(SERVER).arg("--handover").arg(&path).ready();
    let old = server();
    let unit = setup.proxy_unit();
    let _proxy = unit.arg(format!("handover:{}", path.display())).ready();
    let served = setup.client();
    old.stop();
    // Some in the queue of its socket, and some for whom it has no room.
    let waiting: Vec<TcpStream> = (0..40).map(|_| setup.connect()).collect();
    setup.open_becomes(41);
    old.signal(libc::SIGKILL);
    assert_eq!(rest(&served).unwrap(), b"");
    drop(old);
    let new = server();
    for client in &waiting {
        assert_eq!(hello(client), "Hello world!");
    }
    new.signal(libc::SIGTERM);
    drop(waiting);
    ends_well(new);
    assert!(!path.exists());
}
