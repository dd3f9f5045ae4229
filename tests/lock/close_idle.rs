//! Drains that end idle connections, and commands that run when the gate is closed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::setup::*;
use crate::support::*;

/// Sends the other side a byte, which it receives.
fn say(mut from: &TcpStream, mut to: &TcpStream) {
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}

#[test]
fn idle_connections_are_ended_in_order_on_both_sides_and_counted() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let pairs = [setup.pair(), setup.pair(), setup.pair()];
    // One has never sent anything, one has its reply, and one has got something without having asked.
    say(&pairs[1].0, &pairs[1].1);
    say(&pairs[1].1, &pairs[1].0);
    say(&pairs[2].1, &pairs[2].0);
    let text = setup.does(&["lock", "--close-idle", "100ms"]);
    assert!(
        text.contains("locked: 0 connections open, 3 idle ones closed"),
        "{text}"
    );
    for (client, upstream) in &pairs {
        assert_eq!(rest(client).unwrap(), b"");
        assert_eq!(rest(upstream).unwrap(), b"");
    }
    setup.does(&["unlock"]);
    let _open = setup.pair();
    let (_, text) = setup.ctl(&["lock", "--timeout", "0"]);
    assert!(
        !text.contains("idle ones"),
        "another drain counts anew: {text}"
    );
}

#[test]
fn a_connection_whose_client_waits_for_a_reply_is_ended_after_the_reply() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, upstream) = setup.pair();
    say(&client, &upstream);
    let (status, text) = setup.ctl(&["lock", "--close-idle", "50ms", "--timeout", "600ms"]);
    assert_eq!(status, 3, "{text}");
    let mut lock = setup.begin_lock(&["--close-idle", "50ms"]);
    say(&upstream, &client);
    assert!(lock.wait().unwrap().success());
    assert_eq!(rest(&client).unwrap(), b"");
}

#[test]
fn bytes_that_a_receiver_has_not_taken_are_delivered_first() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, mut upstream) = setup.pair();
    upstream.set_nonblocking(true).unwrap();
    let (mut sent, block) = (0, vec![7; 1 << 20]);
    // Until every buffer on the way is full.
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(300) {
        if let Ok(bytes) = upstream.write(&block) {
            sent += bytes;
            full_since = Instant::now();
        }
    }
    let (status, text) = setup.ctl(&["lock", "--close-idle", "50ms", "--timeout", "600ms"]);
    assert_eq!(status, 3, "{text}");
    let mut lock = setup.begin_lock(&["--close-idle", "50ms"]);
    assert_eq!(rest(&client).unwrap().len(), sent);
    assert!(lock.wait().unwrap().success());
}

#[test]
fn a_connection_of_which_one_side_has_ended_is_left_to_the_other() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, upstream) = setup.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"");
    let (status, text) = setup.ctl(&["lock", "--close-idle", "50ms", "--timeout", "600ms"]);
    assert_eq!(status, 3, "{text}");
    (&upstream).write_all(b"reply").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"reply");
}

#[test]
fn a_switch_ends_idle_connections_too() {
    let setup = Setup::without_target();
    let _proxy = setup.start();
    let target = setup.upstream.local_addr().unwrap().to_string();
    setup.does(&["set-target", &target]);
    let (client, _upstream) = setup.pair();
    setup.does(&["switch", &target, "--untested", "--close-idle", "100ms"]);
    assert_eq!(rest(&client).unwrap(), b"");
}

#[test]
fn a_command_runs_when_the_gate_is_closed_and_before_the_drain_is_complete() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let pair = setup.pair();
    let file = setup.directory.path().join("gate");
    let program = env!("CARGO_BIN_EXE_disnix-tcp-proxyctl");
    let command = format!(
        "{program} --json status > {0}.new; mv {0}.new {0}; exit 5",
        file.display()
    );
    let mut lock = ctl(
        &setup.control(),
        &["lock", "--when-closed", &command, "--", "true"],
    )
    .stderr(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    eventually("the command has run", || file.exists());
    let status: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&status["gate"], &status["open"]),
        (&"draining".into(), &1.into())
    );
    drop(pair);
    assert!(lock.wait().unwrap().success());
    let mut text = String::new();
    lock.stderr.unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.contains("--when-closed has failed (exit status: 5); the drain goes on"),
        "{text}"
    );
}
