//! The real `disnix-tcp-proxyctl` against a stand-in for the proxy.

mod asleep;
mod check;
mod command;
mod live;
mod lock;
mod output;
mod stand_in;
mod watch;

use serde_json::json;
use stand_in::{Ended, StandIn, ctl, end, gate, status};

#[test]
fn without_a_verb_it_shows_the_status() {
    let proxy = StandIn::new();
    let child = proxy.start(&[]);
    let lock = json!({ "sinceUSec": 1_000_000, "callers": 0, "kept": true, "reason": "upgrade" });
    proxy
        .called("GetStatus")
        .reply(status("locked", Some(lock)));
    let ended = end(child).expect(0, "");
    for words in [
        "locked since 1970-01-01",
        ": upgrade",
        "2 clients queued",
        "[::1]:5000",
    ] {
        assert!(ended.output.contains(words), "{}", ended.output);
    }
}

#[test]
fn json_has_the_known_fields_of_the_reply() {
    let proxy = StandIn::new();
    let child = proxy.start(&["status", "--json"]);
    proxy.called("GetStatus").reply(status("open", None));
    assert_eq!(
        end(child).expect(0, "").json(),
        status("open", None)["status"]
    );

    let child = proxy.start(&["--json", "unlock"]);
    proxy.called("Unlock").reply(gate("open", 0));
    assert_eq!(end(child).expect(0, "").json(), gate("open", 0));

    let child = proxy.start(&["set-target", "--json", "[::1]:1"]);
    proxy
        .called("SetTarget")
        .reply(json!({ "target": "[::1]:1" }));
    assert_eq!(
        end(child).expect(0, "").json(),
        json!({ "target": "[::1]:1" })
    );
}

#[test]
fn connections_are_a_table_or_an_array() {
    let one = |id: u64| {
        json!({ "connection": {
            "id": id, "peer": "192.0.2.1:4000", "upstream": "[::1]:1", "ageUSec": 90_000_000, "idleUSec": 1_000_000,
            "receivedBytes": 7, "sentBytes": 2048,
        }})
    };
    let proxy = StandIn::new();
    for arguments in [&["connections"][..], &["connections", "--json"]] {
        let child = proxy.start(arguments);
        let mut caller = proxy.called("ListConnections");
        caller.reply_and_go_on(one(7));
        caller.reply(one(8));
        let ended = end(child).expect(0, "");
        if arguments.len() == 1 {
            let lines: Vec<&str> = ended.output.lines().collect();
            assert_eq!(lines.len(), 3);
            assert!(
                lines[0].contains("PEER") && lines[1].contains("1min 30s"),
                "{lines:#?}"
            );
        } else {
            let both = json!([one(7)["connection"], one(8)["connection"]]);
            assert_eq!(ended.json(), both);
        }
    }
    let child = proxy.start(&["connections", "--json"]);
    proxy.called("ListConnections").reply(json!({}));
    assert_eq!(end(child).expect(0, "").json(), json!([]));
}

#[test]
fn a_connection_is_closed_by_its_number() {
    let proxy = StandIn::new();
    let child = proxy.start(&["close", "7"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("CloseConnection"), json!({ "id": 7 }));
    caller.reply(json!({}));
    assert_eq!(end(child).expect(0, "").output, "connection 7 was reset\n");

    let child = proxy.start(&["close", "7"]);
    proxy
        .called("CloseConnection")
        .refuse("NoSuchConnection", json!({ "id": 7 }));
    end(child).expect(1, "no connection 7");
}

#[test]
fn a_refusal_is_an_error_with_the_proxys_reason() {
    let proxy = StandIn::new();
    let child = proxy.start(&["set-target", "nowhere"]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("SetTarget"), json!({ "target": "nowhere" }));
    caller.refuse(
        "InvalidTarget",
        json!({ "target": "nowhere", "reason": "no port" }),
    );
    end(child).expect(2, "“nowhere”: no port");

    let child = proxy.start(&["set-target", "a:1"]);
    proxy
        .called("SetTarget")
        .refuse("TargetFixed", json!({ "target": "b:1" }));
    end(child).expect(1, "fixed to b:1");
}

#[test]
fn what_is_no_proxy_is_an_error() {
    let proxy = StandIn::new();
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\0",
        "{\"parameters\":{\"gate\":7}}\0",
    ] {
        let child = proxy.start(&["unlock"]);
        proxy.called("Unlock").send_bytes(answer.as_bytes());
        end(child).expect(1, "not a disnix-tcp-proxy");
    }
}

#[test]
fn a_proxy_that_is_not_running_has_an_exit_status_of_its_own() {
    let mut proxy = StandIn::new();
    proxy.stop();
    let verbs: [&[&str]; 6] = [
        &["status"],
        &["connections"],
        &["lock"],
        &["switch", "a:1"],
        &["watch"],
        &["lock", "--", "true"],
    ];
    for verb in verbs {
        end(proxy.start(verb)).expect(4, "nobody listens");
    }
    proxy.remove();
    for verb in verbs {
        end(proxy.start(verb)).expect(4, "there is no");
    }
}

#[test]
fn an_unlock_that_a_restart_would_undo_is_a_warning() {
    let proxy = StandIn::new();
    let mut reply = gate("open", 0);
    reply["recordLeft"] = json!("Read-only file system");
    for arguments in [&["unlock"][..], &["unlock", "--json"]] {
        let child = proxy.start(arguments);
        proxy.called("Unlock").reply(reply.clone());
        end(child).expect(0, "could not be removed (Read-only file system)");
    }
}

#[test]
fn unlock_succeeds_where_nothing_runs() {
    let mut proxy = StandIn::new();
    proxy.stop();
    for _ in ["nobody listens", "the socket is gone"] {
        let ended = end(proxy.start(&["unlock"])).expect(0, "");
        assert_eq!(ended.output, "not running, nothing to unlock\n");
        assert_eq!(
            end(proxy.start(&["unlock", "--json"])).expect(0, "").output,
            "null\n"
        );
        let _ = std::fs::remove_file(proxy.path());
    }
}

#[test]
fn a_proxy_that_ends_in_the_moment_of_the_call_is_asked_again() {
    let proxy = StandIn::new();
    let child = proxy.start(&["unlock"]);
    drop(proxy.called("Unlock"));
    proxy.called("Unlock").reply(gate("open", 3));
    let ended = end(child).expect(0, "");
    assert_eq!(ended.output, "open: 3 connections open, 2 clients queued\n");

    // After a restart the number could be that of another connection.
    let child = proxy.start(&["close", "7"]);
    drop(proxy.called("CloseConnection"));
    end(child).expect(4, "ended the connection before it had answered");
}

#[test]
fn wrong_usage_has_an_exit_status_of_its_own() {
    let ended = |arguments: &[&str]| Ended::from(ctl(arguments).output().unwrap());
    ended(&["open"]).expect(2, "open");
    ended(&["lock", "--timeout", "soon"]).expect(2, "soon");
    ended(&["--instance", "../x", "status"]).expect(2, "“../x”");
    ended(&["--instance", "a.b", "unlock"]).expect(2, "letters, digits, - and _, at most 27");
    ended(&["close", "99999999999999999999999"]).expect(2, "too large");
    ended(&["lock", "--lease", "0"]).expect(2, "write infinity");
    ended(&["lock", "--json", "--control", "/c", "--", "true"]).expect(2, "--json");
}

#[test]
fn what_is_no_socket_is_wrong_usage_and_no_proxy_that_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("control");
    std::fs::write(&file, "").unwrap();
    for (path, found) in [
        (file.as_path(), "a file"),
        (directory.path(), "a directory"),
    ] {
        for verb in [&["status"][..], &["unlock"], &["lock", "--if-running"]] {
            let control = ["--control", path.to_str().unwrap()];
            let output = ctl(&[&control, verb].concat()).output().unwrap();
            Ended::from(output).expect(2, &format!("is {found}, and no socket"));
        }
    }
}

#[test]
fn a_call_that_is_longer_than_a_proxy_takes_is_refused_at_once() {
    let mut proxy = StandIn::new();
    proxy.stop();
    let long = "x".repeat(64 * 1024);
    let verbs: [&[&str]; 5] = [
        &["lock", "--reason", &long],
        &["lock", "--if-running", "--reason", &long],
        &["lock", "--reason", &long, "--", "true"],
        &["switch", "a:1", "--reason", &long],
        &["set-target", &long],
    ];
    for verb in verbs {
        let ended = end(proxy.start(verb)).expect(2, "at most 65536 bytes");
        assert!(ended.errors.len() < 1000, "{}", ended.errors);
    }
    // One that is just short enough arrives.
    proxy.remove();
    proxy.listen();
    let child = proxy.start(&["lock", "--reason", &long[..65_000]]);
    let mut caller = proxy.caller();
    assert_eq!(caller.calls("Lock")["reason"], long[..65_000]);
    caller.reply(gate("locked", 0));
    end(child).expect(0, "");
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&["watch"]);
    drop(child.stdout.take());
    // A process that another test is just starting may have the pipe for a moment longer.
    let changes = [status("open", None), status("locked", None)];
    proxy.called("Monitor").reply_until_it_hangs_up(changes);
    end(child).expect(0, "");
}

#[test]
fn a_lock_may_do_without_a_proxy_that_does_not_run() {
    let mut proxy = StandIn::new();
    proxy.stop();
    for why in ["nobody listens", "there is no"] {
        let ended = end(proxy.start(&["lock", "--if-running"])).expect(0, "");
        assert_eq!(ended.output, "not running, nothing to lock\n");
        end(proxy.start(&["lock"])).expect(4, why);
        let _ = std::fs::remove_file(proxy.path());
    }

    // One that is there and does not do it is another matter.
    let proxy = StandIn::new();
    let child = proxy.start(&["lock", "--if-running", "--timeout", "1s"]);
    let refusal = json!({ "open": 1 });
    proxy.called("Lock").refuse("DrainTimedOut", refusal);
    proxy.called("ListConnections").reply(json!({}));
    end(child).expect(3, "1 connection still open");
}

#[test]
fn a_target_can_be_tried_first() {
    let proxy = StandIn::new();
    let set = |wait: &str, usec: u64| {
        let child = proxy.start(&["set-target", "a:1", "--wait", wait]);
        let mut caller = proxy.caller();
        let parameters = json!({ "target": "a:1", "probeUSec": usec });
        assert_eq!(caller.calls("SetTarget"), parameters);
        (child, caller)
    };
    for (wait, usec) in [("20s", 20_000_000), ("infinity", i64::MAX as u64)] {
        let (child, mut caller) = set(wait, usec);
        caller.reply(json!({ "target": "a:1" }));
        let ended = end(child).expect(0, "");
        assert_eq!(ended.output, "new connections go to a:1\n");
    }
    let (child, mut caller) = set("0", 0);
    let refusal = json!({ "target": "a:1", "reason": "cannot reach a:1" });
    caller.refuse("TargetSilent", refusal);
    let ended = end(child).expect(1, "cannot reach a:1; nothing has changed");
    assert_eq!(ended.output, "");
}
