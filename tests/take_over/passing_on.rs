//! Clients that stay are passed on to the successor.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::kinds::*;
use crate::setup::*;
use crate::support::*;

#[track_caller]
fn all_are_served(clients: &[TcpStream], kind: Kind, name: &str) {
    for (number, client) in clients.iter().enumerate() {
        kind.exchange(client, &format!("{name}-{number}"));
    }
}

#[test]
fn the_old_process_ends_although_its_clients_stay_and_each_is_answered_by_the_new_one() {
    for kind in KINDS {
        let setup = Setup::new();
        kind.answer_all(&setup.upstream);
        let mut current = setup.staying(kind).ready();
        let clients = setup.clients(50, kind);
        for name in ["second", "third"] {
            let next = setup.staying(kind).ready();
            ends_well(std::mem::replace(&mut current, next));
            let status = setup.status();
            assert_eq!(status["pid"], current.pid());
            assert_eq!((setup.count("open"), setup.count("detached")), (0, 50));
            all_are_served(&clients, kind, name);
        }
        assert_eq!(setup.count("open"), 50);
        let listed = setup.does(&["connections"]);
        for client in clients {
            let address = client.local_addr().unwrap().to_string();
            assert!(listed.contains(&address), "{listed}");
        }
    }
}

/// Ends threads that go on otherwise, also if the test fails.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn clients_that_ask_all_the_time_on_one_connection_notice_nothing() {
    for kind in KINDS {
        let setup = Setup::new();
        kind.answer_all(&setup.upstream);
        let mut current = setup.staying(kind).ready();
        let stop = Arc::new(AtomicBool::new(false));
        let stops = StopOnDrop(Arc::clone(&stop));
        let threads = [(); 8].map(|()| {
            let (client, stop) = (connect(setup.address), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Relaxed) {
                    kind.exchange(&client, &number.to_string());
                    number += 1;
                }
                number
            })
        });
        for _ in 0..5 {
            let next = setup.staying(kind).ready();
            ends_well(std::mem::replace(&mut current, next));
        }
        drop(stops);
        for thread in threads {
            assert!(thread.join().unwrap() > 5, "{kind:?}");
        }
    }
}

#[test]
fn a_locked_proxy_passes_on_what_its_clients_have_said_meanwhile() {
    let (setup, kind) = (Setup::new(), Kind::Http);
    kind.answer_all(&setup.upstream);
    let old = setup.staying(kind).ready();
    let clients = setup.clients(50, kind);
    setup.does(&["lock"]);
    let (silent, others) = clients.split_at(20);
    others.iter().for_each(|client| kind.ask(client, "waits"));
    others[0].shutdown(Shutdown::Write).unwrap();
    let _new = setup.staying(kind).ready();
    ends_well(old);
    let status = setup.status();
    assert_eq!(
        (&status["gate"], &status["detached"]),
        (&"locked".into(), &50.into())
    );
    setup.does(&["lock"]);
    setup.does(&["unlock"]);
    for client in others {
        kind.is_answered(client, "waits");
    }
    assert_eq!(rest(&others[0]).unwrap(), b"");
    all_are_served(silent, kind, "second");
}

#[test]
fn a_request_that_is_under_way_is_finished_first_and_a_lock_of_the_successor_waits_for_that() {
    let (setup, kind) = (Setup::new(), Kind::Http);
    let mut old = setup.staying(kind).ready();
    let (client, mut upstream) = setup.pair();
    kind.ask(&client, "under-way");
    let mut requests = BufReader::new(upstream.try_clone().unwrap());
    assert_eq!(kind.receive(&mut requests).unwrap(), "under-way");
    let _new = setup.staying(kind).ready();
    assert_eq!(setup.count("openInPredecessor"), 1);
    let mut lock = setup.begin_lock(&[]);
    // The next one waits in the kernel.
    kind.ask(&client, "next");
    assert!(old.is_running() && lock.try_wait().unwrap().is_none());
    upstream
        .write_all(kind.reply("under-way").as_bytes())
        .unwrap();
    kind.is_answered(&client, "under-way");
    assert!(lock.wait().unwrap().success());
    ends_well(old);
    assert_eq!((setup.count("open"), setup.count("detached")), (0, 1));
    assert!(
        kind.receive(&mut requests).is_none(),
        "it was ended in order"
    );
    kind.answer_all(&setup.upstream);
    setup.does(&["unlock"]);
    kind.is_answered(&client, "next");
}

#[test]
fn a_request_that_is_about_to_be_repeated_is_passed_on() {
    let (mut setup, kind) = (Setup::new(), Kind::Http);
    let old = setup.staying(kind).ready();
    let (client, upstream) = setup.pair();
    kind.ask(&client, "lost");
    let mut requests = BufReader::new(upstream.try_clone().unwrap());
    assert_eq!(kind.receive(&mut requests).unwrap(), "lost");
    let address = setup.upstream.local_addr().unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = RefusingAddress::of(std::mem::replace(&mut setup.upstream, elsewhere));
    drop(requests);
    reset(upstream);
    eventually("it is to be repeated", || setup.count("repeated") == 1);
    let unit = setup.unit_without_target(&[setup.address.to_string()]);
    let _new = unit.arg(kind.option()).arg(address.to_string()).ready();
    ends_well(old);
    setup.upstream = refusing.listen(128);
    kind.answer_all(&setup.upstream);
    kind.is_answered(&client, "lost");
    kind.exchange(&client, "next");
}

#[test]
fn few_clients_at_a_time_get_an_upstream_from_the_successor() {
    let (mut setup, kind) = (Setup::new(), Kind::Http);
    let patient = "--connect-timeout=infinity";
    let old = setup.staying(kind).arg(patient).ready();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (client, mut upstream) = setup.pair();
        kind.ask(&client, "first");
        let mut requests = BufReader::new(upstream.try_clone().unwrap());
        assert_eq!(kind.receive(&mut requests).unwrap(), "first");
        upstream.write_all(kind.reply("first").as_bytes()).unwrap();
        kind.is_answered(&client, "first");
        clients.push(client);
    }
    eventually("all are detached", || setup.count("detached") == 40);
    let address = setup.upstream.local_addr().unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = RefusingAddress::of(std::mem::replace(&mut setup.upstream, elsewhere));
    clients.iter().for_each(|client| kind.ask(client, "next"));
    let unit = setup.unit_without_target(&[setup.address.to_string()]);
    let new = unit.arg(kind.option()).arg(patient);
    let _new = new.arg(address.to_string()).ready();
    ends_well(old);
    eventually("a few wait for the service", || setup.count("open") == 5);
    for _ in 0..20 {
        assert_eq!((setup.count("open"), setup.count("detached")), (5, 35));
    }
    setup.upstream = refusing.listen(128);
    kind.answer_all(&setup.upstream);
    for client in &clients {
        kind.is_answered(client, "next");
    }
}

#[test]
fn a_successor_that_does_not_recognise_requests_in_the_same_way_leaves_them_where_they_are() {
    let (setup, kind) = (Setup::new(), Kind::Http);
    kind.answer_all(&setup.upstream);
    for option in ["--requests=none", Kind::Lines.option()] {
        let old = setup.staying(kind).ready();
        let clients = setup.clients(5, kind);
        setup.does(&["lock"]);
        kind.ask(&clients[0], "waits");
        let address = setup.address.to_string();
        let new = setup.unit(&[address]).arg(option).ready();
        kind.is_answered(&clients[0], "waits");
        all_are_served(&clients, kind, "second");
        assert_eq!(setup.count("openInPredecessor"), 5);
        drop(clients);
        ends_well(old);
        setup.does(&["unlock"]);
        new.signal(libc::SIGTERM);
        ends_well(new);
    }
}

#[test]
fn a_successor_without_places_takes_some_and_the_others_go_on_where_they_are() {
    let (setup, kind) = (Setup::new(), Kind::Lines);
    kind.answer_all(&setup.upstream);
    let mut old = setup.staying(kind).ready();
    let clients = setup.clients(5, kind);
    let _new = setup.staying(kind).arg("--connections-max=3").ready();
    let line = old.until_logged("takes no more");
    assert!(line.contains("raise --connections-max"), "{line}");
    all_are_served(&clients, kind, "second");
    assert_eq!(
        (setup.count("open"), setup.count("openInPredecessor")),
        (5, 2)
    );
    drop(clients);
    eventually("none is left", || setup.count("open") == 0);
}

#[test]
fn a_successor_without_descriptors_takes_none_and_goes_on() {
    let (setup, kind) = (Setup::new(), Kind::Lines);
    let mut old = setup.staying(kind).ready();
    let (client, mut upstream) = setup.pair();
    kind.ask(&client, "under-way");
    let mut requests = BufReader::new(upstream.try_clone().unwrap());
    assert_eq!(kind.receive(&mut requests).unwrap(), "under-way");
    let mut new = setup.staying(kind).ready();
    let limit = all_descriptors_taken(new.pid());
    upstream
        .write_all(kind.reply("under-way").as_bytes())
        .unwrap();
    kind.is_answered(&client, "under-way");
    let line = old.until_logged("takes no more");
    assert!(line.contains("raise LimitNOFILE="), "{line}");
    limit_descriptors(new.pid(), limit);
    kind.answer_all(&setup.upstream);
    kind.exchange(&client, "second");
    assert_eq!(setup.count("openInPredecessor"), 1);
    assert!(new.is_running());
    drop(client);
    eventually("none is left", || setup.count("open") == 0);
}

/// Lets a process open no descriptor any more; returns the limit before.
fn all_descriptors_taken(pid: i32) -> u64 {
    let (mut before, mut taken) = (None, 0);
    eventually("it opens and closes none", || {
        let free = free_descriptor(pid);
        let limit = limit_descriptors(pid, free);
        before.get_or_insert(limit);
        std::mem::replace(&mut taken, free) == free
    });
    before.unwrap()
}

/// Sets the limit of a process; returns the limit before.
fn limit_descriptors(pid: i32, limit: u64) -> u64 {
    let prlimit = |new: *const libc::rlimit, old: *mut libc::rlimit| {
        // SAFETY: prlimit(2) reads and writes the structs, which live longer than the call.
        let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, new, old) };
        assert_eq!(result, 0);
    };
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    prlimit(std::ptr::null(), &raw mut old);
    let new = libc::rlimit {
        rlim_cur: limit,
        ..old
    };
    prlimit(&raw const new, std::ptr::null_mut());
    old.rlim_cur
}

/// The lowest number that no descriptor of a process has.
fn free_descriptor(pid: i32) -> u64 {
    let is_taken =
        |number: &u64| std::fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    (0..).find(|number| !is_taken(number)).unwrap()
}
