//! `lock` and `switch`.

use rustix::process::Signal;
use serde_json::json;

use crate::stand_in::{StandIn, end, gate, read_until, signal, terminal};

#[test]
fn lock_waits_for_the_drain_and_reports_its_progress() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--reason", "upgrade", "--lease", "5min"]);
    let mut caller = proxy.caller();
    let limit = 300_000_000;
    let parameters = json!({ "reason": "upgrade", "leaseUSec": 300_000_000, "timeoutUSec": limit });
    assert_eq!(caller.calls("Lock"), parameters);
    for open in [2, 2, 1] {
        caller.reply_and_go_on(gate("draining", open));
    }
    caller.reply(gate("locked", 0));
    let ended = end(child).expect(0, "draining");
    assert_eq!(
        ended.errors,
        "disnix-tcp-proxyctl: draining: 2 connections open, 2 clients queued\n\
         disnix-tcp-proxyctl: draining: 1 connection open, 2 clients queued\n"
    );
    assert_eq!(
        ended.output,
        "locked: 0 connections open, 2 clients queued\n"
    );
}

#[test]
fn what_happens_at_the_end_of_the_lease_is_sent_only_if_it_is_given() {
    let proxy = StandIn::new();
    for what in ["open", "exit"] {
        let child = proxy.start(&["lock", "--lease", "1s", "--at-lease-end", what]);
        let mut caller = proxy.caller();
        let parameters = caller.calls("Lock");
        assert_eq!(parameters["leaseUSec"], 1_000_000);
        assert_eq!(parameters["atLeaseEnd"], what);
        caller.refuse("Unlocked", json!({ "reason": "exit" }));
        end(child).expect(1, "the proxy ends");
    }
}

#[test]
fn json_is_the_last_reply_and_nothing_else() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--json"]);
    let mut caller = proxy.called("Lock");
    caller.reply_and_go_on(gate("draining", 1));
    caller.reply(gate("locked", 0));
    assert_eq!(end(child).expect(0, "").json(), gate("locked", 0));
}

#[test]
fn a_drain_that_takes_too_long_has_an_exit_status_of_its_own() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--timeout", "5s", "--force-after", "3s"]);
    let mut caller = proxy.caller();
    let times = json!({ "timeoutUSec": 5_000_000, "forceAfterUSec": 3_000_000 });
    assert_eq!(caller.calls("Lock"), times);
    caller.refuse("DrainTimedOut", json!({ "open": 3 }));
    proxy.called("ListConnections").reply(json!({}));
    end(child).expect(3, "3 connections still open");
}

#[test]
fn a_drain_that_nobody_sees_is_given_up_after_five_minutes_unless_it_may_last_for_ever() {
    let proxy = StandIn::new();
    for words in [
        &["lock"][..],
        &["lock", "--", "true"],
        &["switch", "[::1]:2"],
    ] {
        let child = proxy.start(words);
        let mut caller = proxy.caller();
        let method = caller.next_method();
        assert_eq!(caller.calls(&method)["timeoutUSec"], 300_000_000);
        caller.refuse("DrainTimedOut", json!({ "open": 3 }));
        proxy.called("ListConnections").reply(json!({}));
        end(child).expect(3, "not complete within 5min (3 connections still open)");
    }
    let child = proxy.start(&["lock", "--timeout", "infinity"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock"), json!({}));
    caller.reply(gate("locked", 0));
    end(child).expect(0, "");
}

#[test]
fn with_json_a_terminal_shows_nothing_and_so_there_is_a_limit_too() {
    let proxy = StandIn::new();
    let (program, _person) = terminal();
    let mut ctl = proxy.ctl(&["lock", "--json"]);
    let child = ctl.stderr(program).spawn().unwrap();
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["timeoutUSec"], 300_000_000);
    caller.reply(gate("locked", 0));
    assert_eq!(end(child).status, Some(0));
}

/// Also where no terminal is, as in the log of a deployment.
#[test]
fn a_drain_that_takes_too_long_says_which_connections_cannot_be_detached() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--timeout", "5s"]);
    let mut caller = proxy.called("Lock");
    caller.reply_and_go_on(gate("draining", 3));
    caller.refuse("DrainTimedOut", json!({ "open": 3 }));
    let mut caller = proxy.called("ListConnections");
    for why in [Some("TLS"), None, Some("TLS")] {
        let connection = json!({
            "id": 1, "peer": "192.0.2.1:4", "ageUSec": 0, "idleUSec": 0, "receivedBytes": 0, "sentBytes": 0,
            "opaque": why,
        });
        caller.reply_and_go_on(json!({ "connection": connection }));
    }
    caller.reply(json!({}));
    end(child).expect(3, "2 connections cannot be detached: TLS\n");
}

#[test]
fn the_idle_time_of_a_drain_is_passed_on_and_what_it_has_ended_is_shown() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--close-idle", "5s"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["closeIdleUSec"], 5_000_000);
    let mut reply = gate("locked", 0);
    reply["closedIdle"] = 1.into();
    caller.reply(reply);
    let ended = end(child).expect(0, "");
    let words = "locked: 0 connections open, 1 idle one closed, 2 clients queued";
    assert!(ended.output.contains(words), "{ended:?}");
}

#[test]
fn no_time_is_longer_than_the_interface_can_say() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--lease", "500000y"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["leaseUSec"], i64::MAX);
    caller.reply(gate("locked", 0));
    end(child).expect(0, "");
}

#[test]
fn so_has_one_that_nobody_leaves_any_more() {
    let proxy = StandIn::new();
    for (words, method) in [
        (&["lock", "--progress-timeout", "5s"][..], "Lock"),
        (&["switch", "[::1]:1", "--progress-timeout", "5s"], "Switch"),
    ] {
        let child = proxy.start(words);
        let mut caller = proxy.caller();
        assert_eq!(caller.calls(method)["progressTimeoutUSec"], 5_000_000);
        caller.refuse("DrainStalled", json!({ "open": 3 }));
        proxy.called("ListConnections").reply(json!({}));
        end(child).expect(3, "3 connections still open");
    }
}

#[test]
fn a_gate_that_somebody_opens_meanwhile_is_an_error() {
    let proxy = StandIn::new();
    for (reason, words) in [("unlock", "somebody else"), ("lease", "lease")] {
        let child = proxy.start(&["lock"]);
        let mut caller = proxy.called("Lock");
        caller.reply_and_go_on(gate("draining", 1));
        caller.refuse("Unlocked", json!({ "reason": reason }));
        end(child).expect(1, words);
    }
}

#[test]
fn a_lock_that_is_interrupted_hangs_up_and_reports_that() {
    let proxy = StandIn::new();
    for number in [Signal::INT, Signal::TERM] {
        let mut child = proxy.start(&["lock"]);
        let mut caller = proxy.called("Lock");
        caller.reply_and_go_on(gate("draining", 1));
        read_until(child.stderr.as_mut().unwrap(), "draining");
        signal(&child, number);
        caller.hangs_up();
        end(child).expect(1, "takes back the lock");
    }
}

#[test]
fn a_lock_is_asked_for_again_when_the_proxy_is_restarted_meanwhile() {
    let mut proxy = StandIn::new();
    let mut child = proxy.start(&["lock", "--timeout", "1h", "--reason", "upgrade"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["timeoutUSec"], 3_600_000_000_u64);
    caller.reply_and_go_on(gate("draining", 1));
    proxy.remove();
    drop(caller);
    read_until(child.stderr.as_mut().unwrap(), "lost");
    proxy.listen();

    let mut caller = proxy.caller();
    let again = caller.calls("Lock");
    assert_eq!(again["reason"], "upgrade");
    let left = again["timeoutUSec"].as_u64().unwrap();
    assert!(left > 3_500_000_000 && left < 3_600_000_000, "{left}");
    caller.reply(gate("locked", 0));
    end(child).expect(0, "there again");
}

#[test]
fn a_last_reply_before_the_drain_is_complete_is_no_success() {
    let proxy = StandIn::new();
    let child = proxy.start(&["lock"]);
    proxy.called("Lock").reply(gate("draining", 1));
    end(child).expect(1, "before the drain was complete");
}

#[test]
fn switch_is_over_with_the_last_reply() {
    let proxy = StandIn::new();
    let child = proxy.start(&["switch", "[::1]:2", "--reason", "move"]);
    let mut caller = proxy.caller();
    let limit = 300_000_000;
    assert_eq!(
        caller.calls("Switch"),
        json!({ "target": "[::1]:2", "reason": "move", "probeUSec": 10_000_000, "timeoutUSec": limit })
    );
    caller.reply_and_go_on(gate("draining", 1));
    caller.reply_and_go_on(gate("locked", 0));
    caller.reply(gate("open", 0));
    let ended = end(child).expect(0, "draining: 1 connection open");
    assert!(
        ended
            .output
            .starts_with("new connections go to [::1]:2; open"),
        "{ended:?}"
    );
}

#[test]
fn a_terminal_shows_the_clients_that_block_the_drain() {
    let proxy = StandIn::new();
    let (program, mut person) = terminal();
    let child = proxy.ctl(&["lock"]).stderr(program).spawn().unwrap();
    // `Lock` and `ListConnections` come on two connections, in any order.
    let mut callers = [proxy.caller(), proxy.caller()];
    if callers[0].next_method() != "Lock" {
        callers.swap(0, 1);
    }
    let [mut lock, mut list] = callers;
    // Who sees it can end it.
    assert_eq!(lock.calls("Lock"), json!({}));
    lock.reply_and_go_on(gate("draining", 1));
    // The first list may come before the gate's state, and then nothing of it is shown.
    for _ in 0..3 {
        list.calls("ListConnections");
        list.reply(json!({ "connection": {
            "id": 7, "peer": "192.0.2.1:4000", "ageUSec": 90_000_000, "idleUSec": 1_000_000,
            "receivedBytes": 7, "sentBytes": 2048,
        }}));
    }
    // Each picture is drawn over the one before.
    read_until(&mut person, "192.0.2.1:4000");
    let between = read_until(&mut person, "192.0.2.1:4000");
    assert!(
        between.contains("\x1b[4F\x1b[J") && between.contains("0 of 1 closed"),
        "{between:?}"
    );
    lock.reply(gate("locked", 0));
    let ended = end(child);
    assert_eq!((ended.status, ended.output.lines().count()), (Some(0), 1));
}
