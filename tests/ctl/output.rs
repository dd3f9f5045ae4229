//! Standard output that cannot be written, or is not read any more.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::stand_in::{StandIn, end, gate, status};

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
