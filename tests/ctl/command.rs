//! `lock -- COMMAND`.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::stand_in::{Caller, Ended, StandIn, end, gate, read_until, signal, status};

/// Locks for a command.
#[track_caller]
fn hold(proxy: &StandIn) -> Caller {
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["hold"], true);
    grant(&mut caller);
    caller
}

fn grant(caller: &mut Caller) {
    caller.reply_and_go_on(gate("draining", 1));
    caller.reply_and_go_on(gate("locked", 0));
}

/// Waits for the end of the hold and reports that the gate is open.
#[track_caller]
fn release(proxy: &StandIn, mut caller: Caller) {
    caller.hangs_up();
    let mut caller = proxy.called("Monitor");
    caller.reply_and_go_on(status("locked", Some(lock(1, false)))); // not noticed yet
    caller.reply_and_go_on(status("open", None));
}

fn lock(callers: u64, kept: bool) -> serde_json::Value {
    json!({ "sinceUSec": 0, "callers": callers, "kept": kept, "reason": "by others" })
}

#[track_caller]
fn under_lock(command: &[&str]) -> Ended {
    let proxy = StandIn::new();
    let child = proxy.start(&[&["lock", "--"], command].concat());
    release(&proxy, hold(&proxy));
    end(child)
}

#[test]
fn the_command_runs_when_the_drain_is_complete_and_gives_its_exit_status() {
    let proxy = StandIn::new();
    let script = "echo \"$DISNIX_TCP_PROXY_CONTROL\"; exit 7";
    let child = proxy.start(&["lock", "--", "sh", "-c", script]);
    release(&proxy, hold(&proxy));
    let ended = end(child).expect(7, "the gate is open again");
    assert_eq!(ended.output, format!("{}\n", proxy.path().display()));
}

#[test]
fn no_command_runs_without_the_lock() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--timeout", "1s", "--", "echo", "ran"]);
    proxy
        .called("Lock")
        .refuse("DrainTimedOut", json!({ "open": 1 }));
    proxy.called("ListConnections").reply(json!({}));
    assert_eq!(end(child).expect(3, "still open").output, "");
}

#[test]
fn a_command_that_a_signal_ends_or_that_cannot_start_has_the_shells_status() {
    under_lock(&["sh", "-c", "kill -KILL $$"]).expect(137, "open again");
    under_lock(&["/nonexistent/command"]).expect(127, "could not be started");
    under_lock(&["/etc/passwd"]).expect(126, "could not be started");
}

#[test]
fn a_signal_is_passed_on_and_the_command_waited_for() {
    for (number, name) in [
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
    ] {
        let proxy = StandIn::new();
        // sh waits for `read` in itself, so that the trap runs at once.
        let script = format!("trap 'echo trapped; exit 5' {name}; echo ready; read never");
        let mut setsid = Command::new("setsid");
        // In a session without a terminal nothing else sends the signal to the command.
        let ctl = env!("CARGO_BIN_EXE_disnix-tcp-proxyctl");
        setsid.args([ctl, "lock", "--", "sh", "-c", &script]);
        let pipe = Stdio::piped;
        setsid.env("DISNIX_TCP_PROXY_CONTROL", proxy.path());
        let mut child = setsid
            .stdin(pipe())
            .stdout(pipe())
            .stderr(pipe())
            .spawn()
            .unwrap();
        let caller = hold(&proxy);
        read_until(child.stdout.as_mut().unwrap(), "ready\n");
        signal(&child, number);
        release(&proxy, caller);
        let ended = end(child).expect(5, "open again");
        assert_eq!(ended.output, "trapped\n");
    }
}

/// Locks for a command, with signals handled as an option of env(1) says.
fn start_with(signals: &str, proxy: &StandIn, command: &[&str]) -> Child {
    let pipe = Stdio::piped;
    Command::new("env")
        .args([signals, env!("CARGO_BIN_EXE_disnix-tcp-proxyctl")])
        .args(["lock", "--"])
        .args(command)
        .env("DISNIX_TCP_PROXY_CONTROL", proxy.path())
        .stdin(pipe())
        .stdout(pipe())
        .stderr(pipe())
        .spawn()
        .unwrap()
}

#[test]
fn the_exit_status_is_known_also_if_sigchld_was_ignored_at_the_start() {
    let proxy = StandIn::new();
    let child = start_with("--ignore-signal=CHLD", &proxy, &["sh", "-c", "exit 7"]);
    release(&proxy, hold(&proxy));
    end(child).expect(7, "open again");
}

#[test]
fn sigterm_is_passed_on_also_if_it_was_blocked_at_the_start() {
    let proxy = StandIn::new();
    let script = "trap 'exit 5' TERM; echo ready; read never";
    let mut child = start_with("--block-signal=TERM", &proxy, &["sh", "-c", script]);
    let caller = hold(&proxy);
    read_until(child.stdout.as_mut().unwrap(), "ready\n");
    signal(&child, Signal::TERM);
    release(&proxy, caller);
    end(child).expect(5, "open again");
}

#[test]
fn what_was_ignored_at_the_start_ends_neither_the_lock_nor_the_command() {
    let proxy = StandIn::new();
    let script = "kill -HUP $PPID $$; kill -INT $PPID $$; exit 7";
    let ignored = "--ignore-signal=HUP,INT";
    let child = start_with(ignored, &proxy, &["sh", "-c", script]);
    release(&proxy, hold(&proxy));
    end(child).expect(7, "open again");
}

#[test]
fn the_lock_is_held_again_when_the_proxy_is_restarted_under_the_command() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&[
        "lock",
        "--timeout",
        "1h",
        "--",
        "sh",
        "-c",
        "read line; exit 7",
    ]);
    let mut caller = proxy.caller();
    let first = json!({ "hold": true, "timeoutUSec": 3_600_000_000_u64 });
    assert_eq!(caller.calls("Lock"), first);
    caller.reply_and_go_on(gate("locked", 0));
    drop(caller);
    // The timeout was for the drain.
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock"), json!({ "hold": true }));
    grant(&mut caller);
    read_until(
        child.stderr.as_mut().unwrap(),
        "connections came in while the lock was lost",
    );
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    release(&proxy, caller);
    end(child).expect(7, "the gate is open again");
}

#[test]
fn when_the_lease_ends_the_command_continues_with_a_warning() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&["lock", "--", "sh", "-c", "read line; exit 7"]);
    let mut caller = hold(&proxy);
    caller.refuse("Unlocked", json!({ "reason": "lease" }));
    read_until(child.stderr.as_mut().unwrap(), "no longer held");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    proxy
        .called("Monitor")
        .reply_and_go_on(status("open", None));
    end(child).expect(7, "open again");
}

#[test]
fn a_gate_that_others_keep_closed_is_reported() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--", "true"]);
    hold(&proxy).hangs_up();
    let earlier = status("locked", Some(lock(0, true)));
    proxy.called("Monitor").reply_and_go_on(earlier);
    end(child).expect(0, "kept by an earlier lock (by others)");

    let child = proxy.start(&["lock", "--", "true"]);
    hold(&proxy).hangs_up();
    let another = status("locked", Some(lock(1, false)));
    // It could be us until the proxy has noticed that we are gone.
    let mut monitor = proxy.called("Monitor");
    monitor.reply_and_go_on(another.clone());
    proxy.called("GetStatus").reply(another);
    end(child).expect(0, "kept by 1 other caller (by others)");
}

#[test]
fn two_dashes_without_a_command_behind_them_lock_nothing() {
    let proxy = StandIn::new();
    for words in [&["lock", "--"][..], &["lock", "--lease", "1s", "--"]] {
        end(proxy.start(words)).expect(2, "no COMMAND");
    }
}
