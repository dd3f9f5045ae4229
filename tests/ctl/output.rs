//! JSON for programs and for people; standard output that cannot be written, or is not read any more.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::stand_in::{StandIn, end, gate, read_until, status, terminal};

/// A file that is on a full disk.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

#[test]
fn a_change_is_a_success_although_it_cannot_be_printed() {
    let proxy = StandIn::new();
    for (words, method, reply) in [
        (&["lock"][..], "Lock", gate("locked", 0)),
        (&["lock", "--json"], "Lock", gate("locked", 0)),
        (&["unlock"], "Unlock", gate("open", 0)),
        (&["switch", "[::1]:1"], "Switch", gate("open", 0)),
        (
            &["set-target", "[::1]:1"],
            "SetTarget",
            json!({ "target": "[::1]:1" }),
        ),
        (&["close", "7"], "CloseConnection", json!({})),
    ] {
        let child = proxy.ctl(words).stdout(full()).spawn().unwrap();
        proxy.called(method).reply(reply);
        end(child).expect(
            0,
            "warning: it is done, but the output could not be written",
        );
    }
}

#[test]
fn an_answer_that_cannot_be_printed_is_an_error() {
    let proxy = StandIn::new();
    let child = proxy.ctl(&["status"]).stdout(full()).spawn().unwrap();
    proxy.called("GetStatus").reply(status("open", None));
    end(child).expect(1, "the output could not be written");
}

#[test]
fn watch_ends_when_nobody_reads_it_any_more_although_nothing_happens() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&["watch"]);
    let mut caller = proxy.called("Monitor");
    caller.reply_and_go_on(status("open", None));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    caller.hangs_up();
    end(child).expect(0, "");
}

#[test]
fn json_has_several_lines_on_a_terminal_and_one_elsewhere() {
    let proxy = StandIn::new();
    let (program, person) = terminal();
    let mut ctl = proxy.ctl(&["status", "--json"]);
    let child = ctl.stdout(program).spawn().unwrap();
    proxy.called("GetStatus").reply(status("open", None));
    let shown = read_until(&person, "\n}");
    assert!(shown.contains("\n  \"gate\": \"open\","), "{shown}");
    end(child).expect(0, "");
    let child = proxy.start(&["status", "--json"]);
    proxy.called("GetStatus").reply(status("open", None));
    assert_eq!(end(child).expect(0, "").output.lines().count(), 1);
}

#[test]
fn with_json_failures_and_notes_are_json_too() {
    let mut proxy = StandIn::new();
    let child = proxy.start(&["unlock", "--json"]);
    let mut reply = gate("open", 0);
    reply["recordLeft"] = json!("Read-only\u{1b} file system (os error 30)");
    proxy.called("Unlock").reply(reply);
    let note: Value = serde_json::from_str(&end(child).errors).unwrap();
    let text = note["note"].as_str().unwrap();
    assert!(text.contains("(Read-only\u{1b} file system)"), "{text}");

    proxy.stop();
    for (words, status, part) in [
        (&["set-target", "[::1]:1"][..], 4, "nobody listens on"),
        (&["lock", "--timeout", "soon"], 2, "“soon” is not a time"),
        (&["metrics"], 2, "leave --json away"),
        (&["lock", "--", "true"], 2, "leave --json away"),
    ] {
        let ended = end(proxy.start(&[&["--json"], words].concat()));
        assert_eq!(ended.status, Some(status), "{ended:?}");
        let failure: Value = serde_json::from_str(&ended.errors).unwrap();
        assert_eq!(failure["exitStatus"], status, "{ended:?}");
        let error = failure["error"].as_str().unwrap();
        assert!(error.contains(part), "{error}");
    }
    // What belongs to a COMMAND is no option of ours.
    let ended = end(proxy.start(&["lock", "--timeout", "soon", "--", "true", "--json"]));
    ended.expect(2, "error: invalid value 'soon'");
}
