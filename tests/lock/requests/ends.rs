//! Which end, and which reset, is passed on, and that none is overlooked.

use std::net::Shutdown;

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";

/// How a service that serves no other request ends its last reply.
const LAST_REPLIES: [(&str, &str); 4] = [
    ("HTTP/1.1", LAST),
    ("HTTP/1.1", "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    // It is cut off.
    ("HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"),
];

#[test]
fn an_end_that_belongs_to_the_reply_is_passed_on() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    for (version, reply) in LAST_REPLIES {
        let (client, upstream) = setup.pair();
        let request = format!("GET / {version}\r\n\r\n");
        send(&client, &request);
        receive(&upstream, &request);
        send(&upstream, reply);
        receive(&client, reply);
        let (status, _) = setup.ctl(&["lock", "--timeout", "200ms"]);
        assert_eq!(status, 3, "the reply may go on: {reply:?}");
        drop(upstream);
        assert_eq!(rest(&client).unwrap(), b"", "{reply:?}");
        drop(client);
        eventually("it has ended", || open(&setup) + detached(&setup) == 0);
    }
}

#[test]
fn a_request_that_waits_behind_the_last_reply_does_not_hide_the_end_of_its_client() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    for (version, reply) in LAST_REPLIES {
        let (client, upstream) = setup.pair();
        let request = format!("GET / {version}\r\n\r\n");
        send(&client, &[request.clone(), get("/2")].concat());
        receive(&upstream, &request);
        send(&upstream, reply);
        receive(&client, reply);
        drop((client, upstream));
        eventually("it has ended", || open(&setup) + detached(&setup) == 0);
    }
}

#[test]
fn a_client_that_resets_while_its_next_request_waits_ends_its_upstream_at_once() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &get("/1"));
    receive(&upstream, &get("/1"));
    send(&client, &get("/2"));
    reset(client);
    rest(&upstream).unwrap_err();
    eventually("it has ended", || open(&setup) + detached(&setup) == 0);
}

#[test]
fn a_reply_that_comes_before_the_end_of_its_request_does_not_end_that() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let head = "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello";
    send(&client, head);
    receive(&upstream, head);
    send(&upstream, &reply("early"));
    receive(&client, &reply("early"));
    let mut lock = setup.begin_lock(&[]);
    assert_eq!(setup.gate(), "draining");
    send(&client, "world");
    receive(&upstream, "world");
    assert!(lock.wait().unwrap().success());
    assert_eq!(detached(&setup), 1);
}

#[test]
fn what_follows_a_reply_that_came_early_is_not_taken_for_another_request() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let head = "POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nhello";
    send(&client, head);
    receive(&upstream, head);
    let timeout = "HTTP/1.1 408 Request Timeout\r\n\r\n";
    send(&upstream, &[reply("early").as_str(), timeout].concat());
    upstream.shutdown(Shutdown::Write).unwrap();
    receive(&client, &reply("early"));
    let body = format!("{:35}", get("/other"));
    send(&client, &body);
    receive(&client, timeout);
    receive(&upstream, &body);
}

#[test]
fn a_body_in_chunks_whose_upstream_is_lost_is_not_taken_for_another_request() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    send(&client, head);
    receive(&upstream, head);
    send(&client, "1000\r\nhello");
    receive(&upstream, "1000\r\nhello");
    reset(upstream);
    rest(&client).unwrap_err();
    assert_eq!((detached(&setup), repeated(&setup)), (0, 0));
}

#[test]
fn what_a_service_says_between_requests_is_dropped_with_it_and_before_the_first_one_passed_on() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let timeout = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";
    exchange(&client, &upstream, "/1");
    send(&upstream, timeout);
    drop(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    let upstream = accept(&setup);
    answer(&upstream, &client, "/2", "2");

    let (client, upstream) = setup.pair();
    send(&upstream, timeout);
    receive(&client, timeout);
    let shown = setup.does(&["connections"]);
    assert!(shown.contains("first"), "{shown}");
}

#[test]
fn a_provisional_reply_is_the_first_byte_of_a_reply() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let head = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    send(&client, head);
    receive(&upstream, head);
    send(&upstream, go_on);
    receive(&client, go_on);
    send(&client, "hi");
    receive(&upstream, "hi");
    reset(upstream);
    rest(&client).unwrap_err();
    assert_eq!(repeated(&setup), 0);
}

#[test]
fn empty_lines_in_front_of_a_request_go_with_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let request = format!("\r\n\r\n{}", get("/1"));
    send(&client, &request);
    receive(&upstream, &request);
    reset(upstream);
    let upstream = accept(&setup);
    receive(&upstream, &request);
    send(&upstream, &reply("1"));
    receive(&client, &reply("1"));
    setup.does(&["lock"]);
    assert_eq!(detached(&setup), 1);
}

#[test]
fn a_reply_that_never_ends_holds_up_a_lock() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                  Transfer-Encoding: chunked\r\n\r\n6\r\nevent\n\r\n";
    send(&client, &get("/events"));
    receive(&upstream, &get("/events"));
    send(&upstream, events);
    receive(&client, events);
    let (status, _) = setup.ctl(&["lock", "--timeout", "200ms"]);
    assert_eq!(status, 3);
    setup.does(&["lock", "--force-after", "100ms"]);
    rest(&client).unwrap_err();
}

#[test]
fn a_detached_client_that_sends_urgent_data_is_attached() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    setup.does(&["lock"]);
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    send(&client, &get("/2"));
    receive(&upstream, "GET");
}
