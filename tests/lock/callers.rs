//! Callers of the control socket: several at a time, silent ones, hostile ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::setup::*;
use crate::support::*;

#[test]
fn a_lock_whose_caller_dies_is_taken_back_but_not_while_another_waits() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let held = setup.pair();
    let mut first = setup.begin_lock(&[]);
    let mut second = setup.begin_lock(&[]);
    first.kill().unwrap();
    first.wait().unwrap();
    eventually("it has gone", || setup.status()["lock"]["callers"] == 1);
    assert_eq!(setup.gate(), "draining");
    second.kill().unwrap();
    second.wait().unwrap();
    eventually("the gate opens", || setup.gate() == "open");
    drop(held);
}

#[test]
fn two_deployers_that_wait_for_the_same_drain_both_get_their_answer() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let held = setup.pair();
    let mut first = setup.begin_lock(&[]);
    let mut second = setup.begin_lock(&[]);
    drop(held);
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(setup.gate(), "locked");
}

#[test]
fn callers_that_wait_leave_room_for_calls_that_do_not() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (_client, _upstream) = setup.pair();
    let method = "io.github.disnix-proxy-example.Proxy.";
    let calls = ["Lock", "Monitor", "Switch"].map(|name| {
        let target = if name == "Switch" {
            "{\"target\":\"[::1]:1\"}"
        } else {
            "{}"
        };
        format!("{{\"method\":\"{method}{name}\",\"parameters\":{target},\"more\":true}}\0")
    });
    let waiting: Vec<UnixStream> = calls
        .iter()
        .cycle()
        .take(300)
        .map(|call| {
            let mut caller = UnixStream::connect(setup.control()).unwrap();
            caller.write_all(call.as_bytes()).unwrap();
            // Its first reply, or a refusal.
            let mut first = [0];
            caller.read_exact(&mut first).unwrap();
            caller
        })
        .collect();
    let (status, text) = setup.ctl(&["lock", "--timeout", "1s"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("64 calls that wait"), "{text}");
    assert_eq!(setup.gate(), "draining");
    setup.does(&["close", "1"]);
    setup.does(&["unlock"]);
    drop(waiting);
    setup.does(&["lock"]);
}

#[test]
fn callers_that_say_nothing_keep_nobody_out() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let silent: Vec<UnixStream> = (0..1000)
        .map(|_| UnixStream::connect(setup.control()).unwrap())
        .collect();
    setup.does(&["lock"]);
    setup.does(&["unlock"]);
    drop(silent);
}

#[test]
fn hostile_callers_disturb_neither_clients_nor_other_callers() {
    let setup = Setup::new();
    let mut proxy = setup.start();
    let control = setup.control();
    let mut callers = Vec::new();
    for number in 0..400 {
        let mut caller = UnixStream::connect(&control).unwrap();
        let _ = match number % 4 {
            0 => Ok(()),
            1 => caller.write_all(b"garbage\0"),
            2 => caller.write_all(b"{\"method\":\"io.github.disnix-proxy-example.Proxy.GetSta"),
            _ => caller.write_all(b"\0\0\0\xff\0"),
        };
        callers.push(caller);
    }
    // A call without an end: it is refused long before all of it is sent.
    let mut endless = UnixStream::connect(&control).unwrap();
    let piece = vec![b' '; 1 << 20];
    assert!((0..100).any(|_| endless.write_all(&piece).is_err()));
    // A caller that calls all the time and never reads.
    let mut deaf = UnixStream::connect(&control).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"io.github.disnix-proxy-example.Proxy.GetStatus\"}\0";
    while deaf.write_all(call).is_ok() {}

    assert_eq!(setup.gate(), "open");
    let (client, mut upstream) = setup.pair();
    upstream.write_all(b"served").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"served");
    assert!(proxy.is_running());
}

#[test]
fn a_proxy_that_is_killed_at_the_end_of_the_command_does_not_stay_locked() {
    let setup = Setup::new();
    let proxy = setup.start();
    let command = format!("kill -9 {}", proxy.pid());
    let lock = ctl(&setup.control(), &["lock", "--", "sh", "-c", &command])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(!proxy.ends().0.success());
    let _proxy = setup.start();
    let output = lock.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("the gate is open again"),
        "{text}"
    );
    assert_eq!(setup.gate(), "open");
}
