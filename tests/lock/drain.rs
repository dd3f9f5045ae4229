//! Drains that do not end by themselves.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::setup::*;
use crate::support::*;

#[test]
fn a_drain_that_takes_too_long_opens_the_gate_again_and_exits_with_3() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let _held = setup.pair();
    let (status, text) = setup.ctl(&["lock", "--timeout", "100ms"]);
    assert_eq!(status, 3, "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn a_drain_that_nobody_leaves_any_more_opens_the_gate_again_and_exits_with_3() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    let (status, text) = setup.ctl(&["lock", "--progress-timeout", "300ms"]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("1 connection still open"), "{text}");
    assert_eq!(setup.gate(), "open");
    drop(client);
}

#[test]
fn connections_that_block_the_drain_are_listed_and_can_be_closed() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    let mut lock = setup.begin_lock(&[]);
    let list = setup.does(&["--json", "connections"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["peer"], client.local_addr().unwrap().to_string());
    setup.does(&["close", &list[0]["id"].to_string()]);
    assert!(rest(&client).is_err());
    assert!(lock.wait().unwrap().success());
}

#[test]
fn a_peer_that_is_connected_and_waits_in_the_queue_is_reported() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, upstream) = setup.pair();
    let lock = ctl(&setup.control(), &["lock"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut lock = lock.unwrap();
    eventually("the gate drains", || setup.gate() == "draining");
    assert!(!setup.ctl(&["status"]).1.contains("still connected"));
    // From the address of the first one.
    let second = connect(setup.address());
    let (_, text) = setup.ctl(&["status"]);
    let words = "Queued: 1, 1 of them from addresses that are still connected";
    assert!(text.contains(words), "{text}");
    // The caller that waits logs it too.
    let words = "1 client waits in the queue from addresses that are still connected";
    let mut said = String::new();
    let mut log = BufReader::new(lock.stderr.take().unwrap());
    while !said.contains(words) {
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
    }
    drop((client, upstream, second));
    assert!(lock.wait().unwrap().success());
}

#[test]
fn force_after_resets_what_is_still_open() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    setup.does(&["lock", "--force-after", "100ms"]);
    assert!(rest(&client).is_err());
    assert_eq!(setup.gate(), "locked");
}
