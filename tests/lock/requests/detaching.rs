//! A client stays connected while its upstream is ended.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

#[test]
fn a_client_between_requests_does_not_hold_up_a_lock_and_gets_its_next_reply_from_another_upstream()
{
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    let text = setup.does(&["lock"]);
    assert!(text.contains("locked: 0 connections open"), "{text}");
    assert_eq!(rest(&upstream).unwrap(), b"", "it was ended in order");
    assert_eq!((open(&setup), detached(&setup)), (0, 1));
    // What it says meanwhile waits.
    send(&client, &get("/2"));
    assert_eq!(setup.gate(), "locked");
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    receive(&upstream, &get("/2"));
    assert_eq!((open(&setup), detached(&setup)), (1, 0));
    send(&upstream, &reply("new"));
    receive(&client, &reply("new"));
    exchange(&client, &upstream, "/3");
}

#[test]
fn a_client_that_has_said_nothing_yet_does_not_either() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    setup.does(&["lock"]);
    assert_eq!(rest(&upstream).unwrap(), b"");
    setup.does(&["unlock"]);
    send(&client, &get("/"));
    receive(&accept(&setup), &get("/"));
}

#[test]
fn a_lock_waits_for_the_reply_to_a_request_and_for_no_longer() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &get("/1"));
    receive(&upstream, &get("/1"));
    let mut lock = setup.begin_lock(&[]);
    assert_eq!(setup.gate(), "draining");
    let (first, last) = ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", "cd");
    send(&upstream, first);
    receive(&client, first);
    // The next request is there before the reply is complete.
    send(&client, &get("/2"));
    send(&upstream, last);
    receive(&client, last);
    assert!(lock.wait().unwrap().success());
    assert_eq!(
        rest(&upstream).unwrap(),
        b"",
        "it did not get the next request"
    );
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    answer(&upstream, &client, "/2", "2");
}

#[test]
fn requests_that_come_together_go_on_one_by_one() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &[get("/1"), get("/2"), get("/3")].concat());
    receive(&upstream, &get("/1"));
    let mut lock = setup.begin_lock(&[]);
    send(&upstream, &reply("1"));
    receive(&client, &reply("1"));
    assert!(lock.wait().unwrap().success());
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    for path in ["/2", "/3"] {
        receive(&upstream, &get(path));
        send(&upstream, &reply(path));
        receive(&client, &reply(path));
    }
}

#[test]
fn a_long_body_is_complete_before_its_client_is_detached() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let body = "x".repeat(3_000_000);
    let request = format!(
        "PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::scope(|scope| {
        scope.spawn(|| send(&client, &request));
        receive(&upstream, &request);
    });
    let mut lock = setup.begin_lock(&[]);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&upstream, &reply(&body)));
        receive(&client, &reply(&body));
    });
    assert!(lock.wait().unwrap().success());
    assert_eq!(detached(&setup), 1);
}

#[test]
fn a_line_is_a_request_where_that_is_said() {
    let setup = Setup::new();
    let _proxy = setup.start_with(LINES);
    let (client, upstream) = setup.pair();
    send(&client, "hello\n");
    receive(&upstream, "hello\n");
    send(&upstream, "Hello world!\n");
    receive(&client, "Hello world!\n");
    setup.does(&["lock"]);
    send(&client, "hello\n");
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    receive(&upstream, "hello\n");
    send(&upstream, "Hello new world!\n");
    receive(&client, "Hello new world!\n");
}

#[test]
fn all_that_have_spoken_during_a_lock_are_answered_after_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let (client, upstream) = setup.pair();
            exchange(&client, &upstream, "/1");
            client
        })
        .collect();
    setup.does(&["lock"]);
    assert_eq!(detached(&setup), 40);
    for (number, client) in clients.iter().enumerate() {
        send(client, &get(&format!("/{number}")));
    }
    setup.does(&["unlock"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in &clients {
                let upstream = accept(&setup);
                let head = line(&upstream);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                receive(&upstream, "\nHost: here\r\n\r\n".trim_start_matches('\n'));
                send(&upstream, &reply(&path));
                std::mem::forget(upstream);
            }
        });
        for (number, client) in clients.iter().enumerate() {
            receive(client, &reply(&format!("/{number}")));
        }
    });
}

#[test]
fn a_client_that_has_been_silent_for_long_enough_is_detached_although_the_gate_is_open() {
    let setup = Setup::new();
    let _proxy = setup.start_with(&["--requests=http", "--detach-idle=100ms"]);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    assert_eq!(rest(&upstream).unwrap(), b"");
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    let upstream = accept(&setup);
    answer(&upstream, &client, "/2", "2");
}

#[test]
fn a_detached_client_that_leaves_is_forgotten_in_order_or_by_a_reset() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (one, _upstream) = setup.pair();
    let (other, _upstream) = setup.pair();
    setup.does(&["lock"]);
    assert_eq!(detached(&setup), 2);
    one.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&one).unwrap(), b"");
    until_detached(&setup, 1);
    reset(other);
    until_detached(&setup, 0);
    assert_eq!(setup.gate(), "locked");
}

#[test]
fn a_client_that_asks_during_a_lock_and_ends_its_side_is_answered_after_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    setup.does(&["lock"]);
    send(&client, &get("/2"));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(detached(&setup), 1);
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    assert_eq!(rest(&upstream).unwrap(), get("/2").as_bytes());
    send(&upstream, &reply("2"));
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), reply("2").as_bytes());
}

#[test]
fn a_client_that_first_speaks_during_a_lock_does_not_wait_longer_for_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let (other, busy) = setup.pair();
    send(&other, &get("/busy"));
    receive(&busy, &get("/busy"));
    // The drain goes on, and the client is not attached to its old upstream any more.
    let mut lock = setup.begin_lock(&[]);
    until_detached(&setup, 1);
    assert_eq!(rest(&upstream).unwrap(), b"");
    send(&client, &get("/"));
    send(&busy, &reply("busy"));
    receive(&other, &reply("busy"));
    assert!(lock.wait().unwrap().success());
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    answer(&upstream, &client, "/", "late");
}
