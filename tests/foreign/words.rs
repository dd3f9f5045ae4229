//! Words of others: on a terminal, in JSON, in the log.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::Setup;
use crate::support::*;

/// Clears the screen, sets its title, begins a line of its own, has the text run the other way.
const REASON: &str =
    "x\x1b[2J\x1b]0;T\x07\n2026-01-01T00:00:00Z  INFO the gate is open\u{9b}31m\u{202e}y";

/// What a caller of the control socket can send and `disnix-tcp-proxyctl` would not.
fn call(setup: &Setup, method: &str, parameters: Value) -> Value {
    let mut stream = UnixStream::connect(setup.control()).unwrap();
    let method = format!("io.github.disnix-proxy-example.Proxy.{method}");
    let call = json!({ "method": method, "parameters": parameters });
    stream.write_all(format!("{call}\0").as_bytes()).unwrap();
    let mut reply = Vec::new();
    BufReader::new(stream).read_until(0, &mut reply).unwrap();
    reply.pop();
    serde_json::from_slice(&reply).unwrap()
}

#[track_caller]
fn is_seen_only(text: &str) {
    let hidden = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}".contains(c);
    assert!(!text.contains(hidden), "{text:?}");
}

#[test]
fn the_reason_of_a_lock_is_read_and_nothing_else() {
    let setup = Setup::new();
    let mut proxy = setup.unit().arg("localhost:1").ready();
    call(&setup, "Lock", json!({ "reason": REASON }));
    for verb in ["status", "unlock"] {
        let text = setup.does(&[verb]);
        is_seen_only(&text);
        assert!(!text.contains("\n2026-01-01"), "{text}");
        call(&setup, "Lock", json!({ "reason": REASON }));
    }
    assert!(setup.does(&["status"]).contains(r"x\u{1b}[2J"));
    let text = setup.does(&["--json", "status"]);
    is_seen_only(&text);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["lock"]["reason"], REASON);
    let line = proxy.until_logged("locked (");
    is_seen_only(&line);
    assert!(line.contains("the gate is open"), "it is one line: {line}");
}

#[test]
fn a_call_that_is_too_long_is_answered() {
    let setup = Setup::new();
    let _proxy = setup.unit().arg("localhost:1").ready();
    // More than a socket holds: the caller is still sending when it is answered.
    for length in [64 * 1024, 512 * 1024] {
        let reply = call(&setup, "Lock", json!({ "reason": "x".repeat(length) }));
        assert!(reply["error"].as_str().unwrap().ends_with(".CallTooLong"));
        assert_eq!(reply["parameters"]["limit"], 65536);
    }
    assert!(setup.does(&["status"]).contains("open"));
}

#[test]
fn a_reason_without_words_is_none() {
    let setup = Setup::new();
    let mut proxy = setup.unit().arg("localhost:1").ready();
    for reason in ["", " "] {
        call(&setup, "Lock", json!({ "reason": reason }));
        let line = proxy.until_logged("locked (");
        assert!(line.contains("locked (no reason given)"), "{line}");
        setup.does(&["unlock"]);
    }
}

#[test]
fn what_is_left_of_a_lease_is_never_more_than_a_number_with_a_sign() {
    let setup = Setup::new();
    let _proxy = setup.unit().arg("localhost:1").ready();
    call(&setup, "Lock", json!({ "leaseUSec": u64::MAX }));
    let reply = call(&setup, "GetStatus", json!({}));
    let left = &reply["parameters"]["status"]["lock"]["leaseLeftUSec"];
    assert!(left.as_i64().is_some_and(|left| left > 0), "{left}");
}

#[test]
fn an_address_has_no_character_that_cannot_be_seen() {
    let setup = Setup::new();
    let _proxy = setup.unit().ready();
    let directory = setup.directory.path().display();
    for evil in ["\x1b]0;PWNED\x07", "\u{9b}31m", "\u{202e}", "a\nb"] {
        for target in [format!("unix:{directory}/{evil}"), format!("{evil}:80")] {
            let reply = call(&setup, "SetTarget", json!({ "target": target }));
            assert!(
                reply["error"].as_str().unwrap().ends_with("InvalidTarget"),
                "{reply}"
            );
            let (status, text) = run_ctl(&setup.control(), &["set-target", &target]);
            assert_ne!(status, 0);
            is_seen_only(&text);
            assert!(text.contains("control character"), "{text}");
        }
    }
    assert!(setup.does(&["status"]).contains("none yet"));
    // Nor does one from the command line reach the log as it is.
    let (status, log) = Unit::new(PROXY)
        .arg("--listen=0")
        .arg("x\x1b[2J:80")
        .fails();
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("control character"), "{log}");
}

#[test]
fn systemd_hears_one_sentence_and_no_message_of_others() {
    // systemd is notified of the failure with the names that were given.
    let setup = Setup::new();
    let listener = setup.listener.try_clone().unwrap();
    let unit = Unit::new(PROXY).socket("one:two\nMAINPID=1", listener);
    let mut proxy = unit.spawn();
    let message = proxy.until(|message| message.contains("STATUS=Failed"));
    assert!(!message.contains("\nMAINPID=1"), "{message:?}");
}
