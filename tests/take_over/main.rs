//! `--take-over`: a proxy is replaced by the next one, and no client notices.

#[path = "../support/mod.rs"]
mod support;

mod failing;
mod kinds;
mod passing_on;
mod setup;
mod stand_in;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use setup::*;
use support::*;

#[test]
fn clients_that_wait_in_a_locked_proxy_are_served_by_its_successor() {
    let setup = Setup::new();
    let old = setup.start();
    setup.does(&["lock", "--reason", "upgrade"]);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(setup.address)).collect();
    let mut new = setup.start();
    assert!(ends_well(old).contains("another process has taken over"));
    let status = setup.status();
    assert_eq!(status["pid"], new.pid());
    assert_eq!(status["gate"], "locked");
    assert_eq!(status["lock"]["reason"], "upgrade");
    assert_eq!(status["queued"], 100);
    answer_all(&setup.upstream);
    setup.does(&["unlock"]);
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    assert!(new.is_running());
}

#[test]
fn clients_that_come_all_the_time_notice_nothing() {
    let setup = Setup::new();
    answer_all(&setup.upstream);
    let mut current = setup.start();
    let crowd = Crowd::at(setup.address, 4);
    for _ in 0..5 {
        crowd.goes_on(20);
        let next = setup.start();
        ends_well(std::mem::replace(&mut current, next));
        // The socket is the successor's: its predecessor has not taken it away.
        assert_eq!(setup.status()["pid"], current.pid());
    }
    crowd.goes_on(20);
    assert!(crowd.nobody_is_lost() >= 120);
    current.signal(libc::SIGTERM);
    ends_well(current);
    assert!(!setup.control().exists());
}

#[test]
fn callers_that_come_all_the_time_are_answered() {
    let setup = Setup::new();
    let mut current = setup.start();
    let control = setup.control();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let caller = {
        let stop = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // There is always a process at the socket.
                drop(UnixStream::connect(&control).unwrap());
                let (status, text) = run_ctl(&control, &["status"]);
                assert_eq!(status, 0, "{text}");
            }
        })
    };
    for _ in 0..5 {
        let next = setup.start();
        ends_well(std::mem::replace(&mut current, next));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    caller.join().unwrap();
}

#[test]
fn a_connection_continues_in_the_old_process_and_counts_in_the_new_one() {
    let setup = Setup::new();
    let mut old = setup.start();
    let (mut client, mut upstream) = setup.pair();
    assert_eq!(listens(old.pid()).len(), 2, "clients and control");
    let _new = setup.start();
    old.until(|message| message.contains("STOPPING=1"));
    client.write_all(b"still\n").unwrap();
    assert_eq!(line(&upstream), "still");
    eventually("it has no listening socket any more", || {
        listens(old.pid()).is_empty()
    });
    setup.serves();
    eventually("one is left", || setup.status()["open"] == 1);
    assert_eq!(setup.status()["openInPredecessor"], 1);

    let mut lock = setup.begin_lock(&[]);
    assert_eq!(setup.status()["gate"], "draining");
    upstream.write_all(b"here\n").unwrap();
    assert_eq!(line(&client), "here");
    assert!(lock.try_wait().unwrap().is_none());
    drop((client, upstream));
    assert!(lock.wait().unwrap().success());
    assert_eq!(setup.status()["gate"], "locked");
    ends_well(old);
}

#[test]
fn a_lock_that_waits_for_the_drain_continues_in_the_successor() {
    let setup = Setup::new();
    let old = setup.start();
    let held = setup.pair();
    let mut lock = setup.begin_lock(&["--reason", "upgrade"]);
    let waiting = connect(setup.address);
    let new = setup.start();
    eventually("it has asked again", || {
        setup.status()["lock"]["callers"] == 1
    });
    let status = setup.status();
    assert_eq!(
        (&status["pid"], &status["gate"]),
        (&new.pid().into(), &"draining".into())
    );
    assert!(lock.try_wait().unwrap().is_none());
    drop(held);
    assert!(lock.wait().unwrap().success());
    assert_eq!(setup.status()["lock"]["kept"], true);
    ends_well(old);
    setup.does(&["unlock"]);
    setup.accept().write_all(b"served").unwrap();
    assert_eq!(rest(&waiting).unwrap(), b"served");
}

#[test]
fn a_lock_that_is_held_for_a_command_is_held_by_the_successor() {
    let setup = Setup::new();
    let old = setup.start();
    let mut command = ctl(&setup.control(), &["lock", "--", "cat"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held = || setup.status()["lock"]["callers"] == 1;
    eventually("the command runs", held);
    let new = setup.start();
    ends_well(old);
    eventually("the lock is held again", held);
    let status = setup.status();
    assert_eq!(status["pid"], new.pid());
    assert_eq!(
        (&status["gate"], &status["lock"]["kept"]),
        (&"locked".into(), &false.into())
    );
    drop(command.stdin.take());
    assert!(command.wait().unwrap().success());
    setup.serves();
}

#[test]
fn a_process_that_is_stopping_can_still_be_taken_over() {
    let setup = Setup::new();
    let mut old = setup.start();
    let held = setup.pair();
    old.signal(libc::SIGTERM);
    old.until(|message| message.contains("STOPPING=1"));
    let waiting = connect(setup.address);
    let _new = setup.start();
    setup.accept().write_all(b"served").unwrap();
    assert_eq!(rest(&waiting).unwrap(), b"served");
    drop(waiting);
    eventually("one is left", || setup.status()["open"] == 1);
    drop(held);
    ends_well(old);
}

#[test]
fn the_count_holds_over_three_processes_and_force_reaches_the_first() {
    let setup = Setup::new();
    let first = setup.start();
    let (client, _upstream) = setup.pair();
    let second = setup.start();
    let (other, _other_upstream) = setup.pair();
    let _third = setup.start();
    assert_eq!(setup.status()["openInPredecessor"], 2);
    setup.does(&["lock", "--force-after", "100ms"]);
    assert_eq!(setup.status()["open"], 0);
    assert!(rest(&client).is_err() && rest(&other).is_err());
    ends_well(first);
    ends_well(second);
}

#[test]
fn when_a_successor_dies_so_do_the_connections_that_it_counted() {
    let setup = Setup::new();
    let old = setup.start();
    let (client, _upstream) = setup.pair();
    let new = setup.start();
    new.signal(libc::SIGKILL);
    assert!(!new.ends().0.success());
    assert!(rest(&client).is_err());
    ends_well(old);
    // The next one finds no process, and a socket that is not listened on.
    let _next = setup.start();
    setup.serves();
}

#[test]
fn a_process_that_has_retired_is_bound_by_its_drain_timeout() {
    let setup = Setup::new();
    let address = [setup.address.to_string()];
    let old = setup.unit(&address).arg("--drain-timeout=100ms").ready();
    let (client, _upstream) = setup.pair();
    let _new = setup.start();
    assert!(ends_well(old).contains("1 connection was cut off"));
    assert!(rest(&client).is_err(), "it looks whole");
    eventually("it is not counted any more", || setup.status()["open"] == 0);
}

#[test]
fn the_target_that_was_set_stays() {
    let setup = Setup::new();
    let there = setup.upstream.local_addr().unwrap().to_string();
    let unit = || setup.unit_without_target(&[setup.address.to_string()]);
    let old = unit().ready();
    setup.does(&["set-target", &there]);
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = format!("--state-directory={}", elsewhere.path().display());
    gives_up(unit().arg(elsewhere), "Give --state-directory");
    let _new = unit().ready();
    ends_well(old);
    setup.serves();
}

#[test]
fn only_the_sockets_that_are_asked_for_are_taken_and_the_rest_is_bound() {
    let setup = Setup::new();
    let (gone, came) = (free_address(), free_address());
    let path = setup.directory.path().join("clients");
    let unix = format!("unix:{}", path.display());
    let old = setup
        .unit(&[gone.to_string(), setup.address.to_string(), unix])
        .ready();
    let _new = setup
        .unit(&[setup.address.to_string(), came.to_string()])
        .ready();
    ends_well(old);
    assert!(TcpStream::connect(gone).is_err());
    assert!(!path.exists());
    setup.serves();
    let _client = connect(came);
    setup.accept();
}

#[test]
fn a_socket_for_every_address_is_taken_as_it_is() {
    let setup = Setup::new();
    let port = setup.address.port().to_string();
    let old = setup.unit(std::slice::from_ref(&port)).ready();
    let _new = setup.unit(&[port]).ready();
    ends_well(old);
    setup.serves();
}

#[test]
fn a_lease_can_end_the_proxy_but_not_its_successor() {
    let setup = Setup::new();
    let old = setup.start();
    setup.does(&["lock", "--lease", "200ms", "--at-lease-end", "exit"]);
    let waiting = connect(setup.address);
    assert!(ends_well(old).contains("the proxy ends, as the lock said"));
    assert!(rest(&waiting).is_err());
    assert!(TcpStream::connect(setup.address).is_err());

    // The next one starts unlocked.
    let old = setup.start();
    setup.serves();
    setup.does(&["lock", "--lease", "2s", "--at-lease-end", "exit"]);
    assert_eq!(setup.status()["lock"]["atLeaseEnd"], "exit");
    let waiting = connect(setup.address);
    let _new = setup.start();
    ends_well(old);
    assert_eq!(setup.status()["lock"]["atLeaseEnd"], "open");
    // Its gate opens at the end of the lease.
    setup.accept().write_all(b"served").unwrap();
    assert_eq!(rest(&waiting).unwrap(), b"served");
}

#[test]
fn a_caller_that_waits_hears_that_the_lease_has_ended_the_proxy() {
    let setup = Setup::new();
    let old = setup.start();
    let (client, upstream) = setup.pair();
    let lock = ["lock", "--lease", "200ms", "--at-lease-end", "exit"];
    let (status, text) = run_ctl(&setup.control(), &lock);
    assert_eq!(status, 1);
    assert!(text.contains("the proxy ends"), "{text}");
    // As for SIGTERM, what is open may end by itself.
    (&client).write_all(b"still\n").unwrap();
    assert_eq!(line(&upstream), "still");
    drop((client, upstream));
    ends_well(old);
}

#[test]
fn more_sockets_are_taken_over_than_one_message_carries() {
    let setup = Setup::new();
    let directory = setup.directory.path();
    let mut addresses = vec![setup.address.to_string()];
    addresses.extend((0..600).map(|number| format!("unix:{}/{number}", directory.display())));
    let old = setup.unit(&addresses).ready();
    let new = setup.unit(&addresses).ready();
    ends_well(old);
    setup.serves();
    let status = setup.status();
    assert_eq!(
        status["listeners"].as_array().unwrap().len(),
        addresses.len()
    );
    let client = UnixStream::connect(directory.join("599")).unwrap();
    drop((setup.accept(), client));
    ends_well_after_a_signal(new);
    assert!(!directory.join("599").exists());
}

#[track_caller]
fn ends_well_after_a_signal(process: Running) {
    process.signal(libc::SIGTERM);
    ends_well(process);
}

#[test]
fn load_balancers_are_answered_by_the_successor() {
    let setup = Setup::new();
    let health = free_address();
    let start = || {
        let unit = setup.unit(&[setup.address.to_string()]);
        unit.arg("--health").arg(health.to_string()).ready()
    };
    let passes = || {
        let mut peer = connect(health);
        peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        line(&peer) == "HTTP/1.0 200 OK"
    };
    let old = start();
    assert!(passes());
    let _new = start();
    ends_well(old);
    assert!(passes());
}
