//! Successors that fail, or start at the same time: the proxy that runs continues.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::setup::*;
use crate::support::*;

#[test]
fn a_successor_that_gives_up_has_changed_nothing() {
    let setup = Setup::new();
    let socket = format!("unix:{}", setup.directory.path().join("clients").display());
    let ours = [setup.address.to_string(), socket];
    let mut old = setup.unit(&ours).ready();
    setup.does(&["lock"]);
    let waiting = connect(setup.address);

    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = foreign.local_addr().unwrap().to_string();
    gives_up(
        setup.unit(&[ours[0].clone(), ours[1].clone(), taken.clone()]),
        &taken,
    );
    let everywhere = format!("0.0.0.0:{}", setup.address.port());
    gives_up(setup.unit(&[everywhere]), "exactly the same address");
    // One that has the sockets and goes away.
    assert!(setup.caller().call("HandOver", false)["parameters"]["listeners"].is_array());

    assert!(old.is_running());
    setup.does(&["unlock"]);
    setup.accept().write_all(b"served").unwrap();
    assert_eq!(rest(&waiting).unwrap(), b"served");
    let _client = UnixStream::connect(setup.directory.path().join("clients")).unwrap();
    setup.accept();
}

#[test]
fn a_successor_that_would_not_find_the_lock_or_the_target_is_refused() {
    let setup = Setup::new();
    let _old = setup.start();
    let elsewhere = tempfile::tempdir().unwrap();
    let address = [setup.address.to_string()];
    let unit = || {
        let unit = setup.unit(&address);
        unit.arg(format!(
            "--runtime-directory={}",
            elsewhere.path().display()
        ))
    };
    let there = format!(
        "Give --runtime-directory {}",
        setup.directory.path().display()
    );
    gives_up(unit(), &there);
    setup.does(&["lock"]);
    gives_up(unit(), &there);
    // It is the directory that counts, not its name.
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(setup.directory.path(), &link).unwrap();
    let link = format!("--runtime-directory={}", link.display());
    let _new = setup.unit(&address).arg(link).ready();
    assert_eq!(setup.status()["gate"], "locked");
}

#[test]
fn of_two_successors_at_once_the_second_fails_with_the_reason() {
    let setup = Setup::new();
    let mut old = setup.start();
    let mut first = setup.caller();
    first.call("HandOver", false);
    let successor = || setup.unit(&[setup.address.to_string()]);
    let pid = format!("another process ({})", std::process::id());
    gives_up(successor(), &pid);
    assert!(old.is_running());
    drop(first);
    eventually("the place is free again", || {
        setup.caller().call("HandOver", false)["error"].is_null()
    });
    let mut second = setup.start();
    ends_well(old);
    assert!(second.is_running());
}

#[test]
fn of_successors_that_race_one_serves_and_no_client_is_lost() {
    let setup = Setup::new();
    answer_all(&setup.upstream);
    let mut all = vec![setup.start()];
    let crowd = Crowd::at(setup.address, 2);
    crowd.goes_on(5);
    for _ in 0..5 {
        all.push(setup.unit(&[setup.address.to_string()]).spawn());
    }
    // Each of them either gives up, or takes over from the one before it.
    eventually("one is left", || {
        let running = all.iter_mut().map(Running::is_running);
        running.filter(|runs| *runs).count() == 1
    });
    crowd.goes_on(5);
    let last = all.iter_mut().position(Running::is_running).unwrap();
    let last = all.swap_remove(last);
    assert_eq!(setup.status()["pid"], last.pid());
    crowd.nobody_is_lost();
    for one in all {
        let (status, log) = one.ends();
        assert!(matches!(status.code(), Some(0 | 3)), "{log}");
    }
}

#[test]
fn a_version_without_take_over_continues() {
    let setup = Setup::new();
    let control = UnixListener::bind(setup.control()).unwrap();
    let clients = TcpListener::bind(setup.address).unwrap();
    let old = std::thread::spawn(move || {
        let (mut caller, _) = control.accept().unwrap();
        let mut call = [0; 4096];
        let count = std::io::Read::read(&mut caller, &mut call).unwrap();
        assert!(String::from_utf8_lossy(&call[..count]).contains(".HandOver\""));
        let error = br#"{"error":"org.varlink.service.MethodNotFound","parameters":{}}"#;
        caller.write_all(error).unwrap();
        caller.write_all(b"\0").unwrap();
        control
    });
    gives_up(
        setup.unit(&[setup.address.to_string()]),
        "cannot hand over its sockets; it goes on",
    );
    // The socket and the clients that wait there are as they were.
    let _control = old.join().unwrap();
    let _caller = UnixStream::connect(setup.control()).unwrap();
    let _client = connect(setup.address);
    clients.accept().unwrap();
}

#[test]
fn sockets_of_systemd_are_not_handed_over() {
    let setup = Setup::new();
    let control = UnixListener::bind(setup.control()).unwrap();
    let clients = TcpListener::bind(setup.address).unwrap();
    let _old = Unit::new(PROXY)
        .socket("clients", clients.try_clone().unwrap())
        .socket("varlink", control)
        .arg("localhost:1")
        .ready();
    gives_up(setup.unit(&[setup.address.to_string()]), "restart the unit");
    let both = setup
        .unit(&[])
        .socket("clients", clients)
        .arg("--listen=127.0.0.1:0");
    let (status, log) = both.fails();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("leave one of them away"), "{log}");
}

#[test]
fn what_comes_first_has_to_come_first() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let mut caller = setup.caller();
    let refused = caller.call("Retire", true);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .ends_with(".NotHandedOver")
    );
    caller.call("HandOver", false);
    let refused = caller.call("Retire", false);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .ends_with(".ExpectedMore")
    );
    setup.serves();
    let (status, log) = Unit::new(PROXY)
        .arg("--take-over")
        .arg("--listen=0")
        .fails();
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("--control"), "{log}");
}
