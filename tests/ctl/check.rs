//! `switch --check`.

use std::process::Child;

use rustix::process::Signal;
use serde_json::json;

use crate::stand_in::{Caller, StandIn, end, gate, read_until, signal, status};

const TARGET: &str = "[::1]:2";

/// A switch that has tried the target, and whose check runs under the lock.
fn checks(proxy: &StandIn, command: &str) -> (Child, Caller) {
    checks_with(proxy, command, &[])
}

/// The same with further words.
fn checks_with(proxy: &StandIn, command: &str, more: &[&str]) -> (Child, Caller) {
    let words = ["switch", TARGET, "--reason", "move", "--check", command];
    let child = proxy.start(&[&words, more].concat());
    let mut caller = proxy.caller();
    let tried = json!({ "target": TARGET, "probeUSec": 10_000_000, "tryOnly": true });
    assert_eq!(caller.calls("SetTarget"), tried);
    caller.reply(json!({ "target": TARGET }));
    let mut caller = proxy.caller();
    let lock = json!({ "hold": true, "reason": "move", "timeoutUSec": 300_000_000 });
    assert_eq!(caller.calls("Lock"), lock);
    caller.reply_and_go_on(gate("draining", 1));
    caller.reply_and_go_on(gate("locked", 0));
    (child, caller)
}

/// The call hangs up without having set the target, and sees the gate open.
#[track_caller]
fn goes_back(proxy: &StandIn, mut caller: Caller) {
    caller.hangs_up();
    let mut monitor = proxy.called("Monitor");
    monitor.reply_and_go_on(status("open", None));
}

#[test]
fn the_target_is_set_when_the_check_has_succeeded_and_before_the_gate_opens() {
    let proxy = StandIn::new();
    let command = "echo \"$DISNIX_TCP_PROXY_TARGET at $DISNIX_TCP_PROXY_CONTROL\"";
    let (child, mut caller) = checks(&proxy, command);
    let mut set = proxy.caller();
    let parameters = json!({ "target": TARGET, "probeUSec": 10_000_000 });
    assert_eq!(set.calls("SetTarget"), parameters);
    set.reply(json!({ "target": TARGET }));
    caller.hangs_up();
    let mut monitor = proxy.called("Monitor");
    monitor.reply_and_go_on(status("open", None));
    let words = format!("{TARGET} at {}\n", proxy.path().display());
    let ended = end(child).expect(0, &words);
    assert_eq!(
        ended.output,
        "new connections go to [::1]:2; open: 0 connections open, 2 clients queued\n"
    );
}

#[test]
fn a_check_that_fails_changes_nothing_and_has_an_exit_status_of_its_own() {
    let proxy = StandIn::new();
    let (child, caller) = checks(&proxy, "exit 7");
    goes_back(&proxy, caller);
    end(child).expect(5, "the check of [::1]:2 has failed (exit status: 7)");
}

#[test]
fn a_check_that_takes_too_long_is_ended_and_has_failed() {
    let proxy = StandIn::new();
    let (child, caller) = checks_with(&proxy, "read never", &["--check-timeout", "100ms"]);
    goes_back(&proxy, caller);
    let says = "the check of [::1]:2 has failed (ended because it had taken 100ms, the limit of --check-timeout)";
    end(child).expect(5, says);
}

#[test]
fn a_target_that_does_not_answer_is_not_locked_for() {
    let proxy = StandIn::new();
    let child = proxy.start(&["switch", TARGET, "--check", "true"]);
    let refusal = json!({ "target": TARGET, "reason": "it refused" });
    proxy.called("SetTarget").refuse("TargetSilent", refusal);
    end(child).expect(1, "it refused; nothing has changed");
}

#[test]
fn a_target_that_is_not_to_be_tried_is_only_checked() {
    let proxy = StandIn::new();
    let child = proxy.start(&["switch", TARGET, "--untested", "--check", "exit 1"]);
    let mut caller = proxy.caller();
    let tried = json!({ "target": TARGET, "tryOnly": true });
    assert_eq!(caller.calls("SetTarget"), tried);
    caller.reply(json!({ "target": TARGET }));
    let mut caller = proxy.called("Lock");
    caller.reply_and_go_on(gate("locked", 0));
    goes_back(&proxy, caller);
    end(child).expect(5, "exit status: 1");
}

#[test]
fn a_signal_ends_the_check_and_changes_nothing() {
    let proxy = StandIn::new();
    // sh waits for `read` in itself, so nothing is left of it.
    let (mut child, caller) = checks(&proxy, "echo ready; read never");
    read_until(child.stderr.as_mut().unwrap(), "ready\n");
    signal(&child, Signal::TERM);
    goes_back(&proxy, caller);
    end(child).expect(1, "takes back the lock");
}

#[test]
fn a_signal_ends_the_wait_for_a_target_that_does_not_answer() {
    let proxy = StandIn::new();
    let child = proxy.start(&["switch", TARGET, "--wait", "1h", "--check", "true"]);
    let mut caller = proxy.called("SetTarget");
    signal(&child, Signal::TERM);
    caller.hangs_up();
    end(child).expect(1, "interrupted");
    // After the drain it is tried again, under the lock.
    let (child, caller) = checks(&proxy, "true");
    let mut set = proxy.called("SetTarget");
    signal(&child, Signal::TERM);
    set.hangs_up();
    goes_back(&proxy, caller);
    end(child).expect(1, "takes back the lock");
}

#[test]
fn a_gate_that_somebody_opens_while_the_target_is_tried_leaves_the_target() {
    let proxy = StandIn::new();
    let (child, mut caller) = checks(&proxy, "true");
    let mut set = proxy.called("SetTarget");
    caller.refuse("Unlocked", json!({ "reason": "unlock" }));
    set.hangs_up();
    goes_back(&proxy, caller);
    end(child).expect(1, "somebody else has opened the gate");
}

#[test]
fn a_gate_that_somebody_opens_during_the_check_ends_it_and_the_target_stays() {
    let proxy = StandIn::new();
    let (mut child, mut caller) = checks(&proxy, "echo ready; read never");
    read_until(child.stderr.as_mut().unwrap(), "ready\n");
    caller.refuse("Unlocked", json!({ "reason": "unlock" }));
    goes_back(&proxy, caller);
    end(child).expect(1, "somebody else has opened the gate");
}

#[test]
fn connections_that_came_in_while_the_lock_was_lost_are_waited_for() {
    let proxy = StandIn::new();
    let (mut child, caller) = checks(&proxy, "echo ready; read line; true");
    read_until(child.stderr.as_mut().unwrap(), "ready\n");
    drop(caller);
    let mut caller = proxy.called("Lock");
    caller.reply_and_go_on(gate("draining", 1));
    read_until(child.stderr.as_mut().unwrap(), "there again");
    drop(child.stdin.take());
    caller.reply_and_go_on(gate("locked", 0));
    proxy.called("SetTarget").reply(json!({ "target": TARGET }));
    caller.hangs_up();
    let mut monitor = proxy.called("Monitor");
    monitor.reply_and_go_on(status("open", None));
    assert_eq!(end(child).status, Some(0));
}
