//! `connections` in an order and again and again, and colours on a terminal.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, end, read_until, signal, status, terminal};

fn one(id: u64, sent: u64, idle: u64) -> Value {
    json!({ "connection": {
        "id": id, "peer": format!("192.0.2.1:{id}"), "upstream": "[::1]:1", "ageUSec": 90_000_000,
        "idleUSec": idle, "receivedBytes": 7, "sentBytes": sent,
    }})
}

fn ids(line: &str) -> Vec<u64> {
    let listed: Vec<Value> = serde_json::from_str(line).unwrap();
    listed
        .iter()
        .map(|one| one["id"].as_u64().unwrap())
        .collect()
}

#[test]
fn connections_come_in_the_order_that_is_asked_for() {
    let proxy = StandIn::new();
    for (arguments, expected) in [
        (&[][..], [1, 2, 3]),
        (&["--sort", "bytes"], [3, 1, 2]),
        (&["--sort", "idle"], [2, 1, 3]),
    ] {
        let child = proxy.start(&[&["connections", "--json"], arguments].concat());
        let mut caller = proxy.called("ListConnections");
        caller.reply_and_go_on(one(1, 5, 5));
        caller.reply_and_go_on(one(2, 0, 9));
        caller.reply(one(3, 8, 0));
        assert_eq!(ids(&end(child).expect(0, "").output), expected);
    }
}

#[test]
fn connections_are_listed_again_over_one_connection_until_it_is_ended() {
    let proxy = StandIn::new();
    let mut child = proxy.start(&["connections", "--watch", "--json"]);
    let mut caller = proxy.called("ListConnections");
    caller.reply_and_go_on(one(1, 5, 5));
    caller.reply(one(2, 0, 9));
    let output = child.stdout.as_mut().unwrap();
    assert_eq!(ids(&read_until(&mut *output, "\n")), [2, 1]);
    caller.calls("ListConnections");
    caller.reply(json!({}));
    assert_eq!(read_until(output, "\n"), "[]\n");
    signal(&child, Signal::TERM);
    assert_eq!(end(child).status, None);
}

#[test]
fn a_terminal_shows_the_connections_in_place() {
    let proxy = StandIn::new();
    let (program, mut person) = terminal();
    let mut command = proxy.ctl(&["connections", "--watch"]);
    let child = command.stdout(program).spawn().unwrap();
    let mut caller = proxy.called("ListConnections");
    caller.reply(one(1, 5, 5));
    read_until(&mut person, "192.0.2.1:1");
    caller.calls("ListConnections");
    caller.reply(one(2, 5, 5));
    let between = read_until(&mut person, "192.0.2.1:2");
    assert!(between.contains("\x1b[3F\x1b[J"), "{between:?}");
    signal(&child, Signal::TERM);
    assert_eq!(end(child).status, None);
}

#[test]
fn a_locked_gate_is_red_on_a_terminal_unless_colours_are_turned_off() {
    let proxy = StandIn::new();
    let shown = |no_color: &str| {
        let (program, mut person) = terminal();
        let mut command = proxy.ctl(&["status"]);
        command.env("TERM", "xterm").env("NO_COLOR", no_color);
        let child = command.stdout(program).spawn().unwrap();
        let lock = json!({ "sinceUSec": 0, "callers": 0, "kept": true });
        proxy
            .called("GetStatus")
            .reply(status("locked", Some(lock)));
        let text = read_until(&mut person, "version");
        end(child).expect(0, "");
        text
    };
    let text = shown("");
    assert!(
        text.contains("Gate: \x1b[31mlocked\x1b[0m since"),
        "{text:?}"
    );
    let text = shown("1");
    assert!(
        text.contains("Gate: locked since") && !text.contains('\x1b'),
        "{text:?}"
    );
}
