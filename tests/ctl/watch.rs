//! `watch`.

use serde_json::Value;

use crate::stand_in::{StandIn, end, read_until, status};

#[test]
fn every_change_is_a_line_until_the_proxy_exits() {
    let proxy = StandIn::new();
    let child = proxy.start(&["watch"]);
    let mut caller = proxy.called("Monitor");
    for gate in ["open", "open", "locked"] {
        caller.reply_and_go_on(status(gate, None));
    }
    drop(caller);
    let ended = end(child).expect(0, "the proxy has exited");
    let lines: Vec<&str> = ended.output.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].ends_with("open      0 open  2 queued  target [::1]:5000"),
        "{lines:#?}"
    );
}

#[test]
fn json_is_an_object_a_line() {
    let proxy = StandIn::new();
    let child = proxy.start(&["watch", "--json"]);
    let mut caller = proxy.called("Monitor");
    caller.reply_and_go_on(status("open", None));
    caller.reply(status("locked", None));
    let ended = end(child).expect(0, "exited");
    let lines: Vec<Value> = ended
        .output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], status("open", None)["status"]);
    assert_eq!(lines[1], status("locked", None)["status"]);
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&["watch"]);
    let mut caller = proxy.called("Monitor");
    caller.reply_and_go_on(status("open", None));
    caller.send_bytes(b"{\"parameters\":");
    drop(caller);
    read_until(child.stderr.as_mut().unwrap(), "lost");
    let mut caller = proxy.called("Monitor");
    caller.reply(status("locked", None));
    let ended = end(child).expect(0, "exited");
    assert_eq!(ended.output.lines().count(), 2, "{ended:?}");
}
