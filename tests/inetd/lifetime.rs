//! The helper's exits, stops and kills.

use crate::setup::*;
use crate::support::*;
use crate::{echo, is_silent, talk, unit};

#[test]
fn it_exits_when_it_is_idle_and_the_next_client_starts_it_again() {
    let setup = Setup::new();
    let _proxy = setup.proxy();
    for _ in 0..2 {
        let client = setup.connect();
        // Without a client it exits at once.
        setup.until_handed_over();
        let inetd = unit(&setup, &["--exit-idle-time=0"], &["cat"]).spawn();
        echo(&client, "word");
        drop(client);
        let log = ends_well(inetd);
        assert!(log.contains("the next client starts it again"), "{log}");
    }
}

#[test]
fn a_stop_waits_for_processes_and_leaves_new_clients_to_the_next_one() {
    let setup = Setup::new();
    let (_proxy, mut inetd) = (setup.proxy(), unit(&setup, &[], &["cat"]).ready());
    let client = setup.connect();
    echo(&client, "before");
    inetd.signal(libc::SIGTERM);
    inetd.until(|message| message.contains("STOPPING=1"));
    let later = setup.connect();
    use std::io::Write;
    (&later).write_all(b"later\n").unwrap();
    setup.open_becomes(2);
    echo(&client, "after");
    assert!(is_silent(&later));
    drop(client);
    ends_well(inetd);
    let _next = unit(&setup, &[], &["cat"]).ready();
    assert_eq!(line(&later), "later");
}

#[test]
fn a_second_signal_and_the_end_of_the_drain_reset_what_is_left() {
    for drain in ["infinity", "0"] {
        let setup = Setup::new();
        let option = format!("--drain-timeout={drain}");
        let inetd = unit(&setup, &[&option], &["sh", "-c", "trap '' TERM; exec cat"]);
        let (_proxy, mut inetd) = (setup.proxy(), inetd.ready());
        let client = setup.connect();
        echo(&client, "word");
        inetd.signal(libc::SIGTERM);
        if drain == "infinity" {
            inetd.until(|message| message.contains("STOPPING=1"));
            echo(&client, "still");
            inetd.signal(libc::SIGTERM);
        }
        assert!(is_reset(&client), "{drain}");
        let (status, log) = inetd.ends();
        assert!(status.success(), "{drain}: {log}");
        setup.open_becomes(0);
    }
}

#[test]
fn when_it_is_killed_its_processes_end_and_clients_that_wait_go_to_the_next_one() {
    let setup = Setup::new();
    let inetd = unit(&setup, &["--processes-max=1"], &["cat"]).ready();
    let _proxy = setup.proxy();
    let served = setup.connect();
    echo(&served, "word");
    let waiting = setup.connect();
    setup.open_becomes(2);
    inetd.signal(libc::SIGKILL);
    // Its process has ended too, and so has its connection.
    assert!(rest(&served).is_ok_and(|bytes| bytes.is_empty()));
    drop(inetd);
    let _next = unit(&setup, &[], &["cat"]).ready();
    echo(&waiting, "word");
    drop(waiting);
    setup.open_becomes(0);
}

#[test]
fn without_systemd_it_makes_its_own_socket_and_removes_it() {
    let setup = Setup::new();
    let path = setup.path("own");
    let target = format!("handover:{}", path.display());
    let inetd = Unit::new(crate::INETD)
        .arg("--handover")
        .arg(&path)
        .arg("cat")
        .ready();
    let _proxy = setup.proxy_unit().arg(target).ready();
    assert_eq!(talk(&setup, "word"), "word");
    inetd.signal(libc::SIGTERM);
    ends_well(inetd);
    assert!(!path.exists());
}
