//! The target: it is set, kept, read again, and switched.

use std::net::TcpListener;
use std::process::Stdio;

use crate::setup::*;
use crate::support::*;

#[test]
fn without_a_target_clients_wait_until_there_is_one_and_it_is_kept() {
    let setup = Setup::without_target();
    let proxy = setup.start();
    let client = connect(setup.address());
    assert_eq!(setup.status()["target"], serde_json::Value::Null);
    setup.does(&["set-target", &setup.target()]);
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
    proxy.signal(libc::SIGKILL);
    proxy.ends();
    let _proxy = setup.start();
    assert_eq!(setup.status()["target"], setup.target());
    let (status, text) = setup.ctl(&["set-target", "no where"]);
    assert_eq!(status, 2);
    assert!(text.contains("not a name"), "{text}");
    setup.does(&["set-target", "localhost"]);
    assert_eq!(setup.status()["target"], "localhost:80");
}

#[test]
fn a_target_of_the_command_line_cannot_be_changed() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (status, text) = setup.ctl(&["set-target", "localhost:1"]);
    assert_eq!(status, 1);
    assert!(text.contains(&setup.target()), "{text}");
    setup.does(&["set-target", &setup.target()]);
}

#[test]
fn switch_drains_before_it_leads_elsewhere() {
    let setup = Setup::without_target();
    let _proxy = setup.start();
    setup.does(&["set-target", &setup.target()]);
    let (held, held_upstream) = setup.pair();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = elsewhere.local_addr().unwrap().to_string();
    let mut switch = ctl(&setup.control(), &["switch", "--untested", &there])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it drains", || setup.gate() == "draining");
    let waiting = connect(setup.address());
    assert_eq!(setup.status()["target"], setup.target());
    drop((held, held_upstream));
    assert!(switch.wait().unwrap().success());
    serve_one(&elsewhere, b"elsewhere");
    assert_eq!(rest(&waiting).unwrap(), b"elsewhere");
}

#[test]
fn sighup_has_the_target_read_again() {
    let setup = Setup::without_target();
    let mut proxy = setup.start();
    std::fs::write(setup.directory.path().join("target"), setup.target()).unwrap();
    proxy.signal(libc::SIGHUP);
    let message = proxy.until(|message| message.contains("RELOADING=1"));
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    proxy.until(|message| message.contains("READY=1") && message.contains(&setup.target()));
}
