//! However a stream is cut, and whatever comes with a request or a reply, it is told apart in the same way.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

/// More than is looked at once, in chunks of all lengths, so that some part of one is at every border.
fn chunks() -> String {
    let chunk = |length| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let all = (1..1200).map(|number| chunk(number * 7 % 1201 + 1));
    all.collect()
}

/// What is behind the last chunk.
const LAST: &str = "0\r\n\r\n";

/// The connection can do without its upstream: where each reply ends is known.
fn is_between_requests(setup: &Setup) {
    setup.does(&["lock", "--timeout", "20s"]);
    assert_eq!(detached(setup), 1);
    setup.does(&["unlock"]);
}

#[test]
fn chunks_are_found_at_every_border() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + &chunks() + LAST;
    let post =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + &chunks() + LAST;
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| send(&client, &post));
            receive(&upstream, &post);
        });
        std::thread::scope(|scope| {
            scope.spawn(|| send(&upstream, &chunked));
            receive(&client, &chunked);
        });
    }
    is_between_requests(&setup);
}

#[test]
fn a_slow_receiver_gets_all_chunks_too() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let all = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
        + &chunks().repeat(12)
        + LAST;
    send(&client, &get("/"));
    receive(&upstream, &get("/"));
    std::thread::scope(|scope| {
        scope.spawn(|| send(&upstream, &all));
        let mut buffer = vec![0; 1 << 20];
        eventually("much waits for its receiver", || {
            client.peek(&mut buffer).unwrap() > 50_000
        });
        receive(&client, &all);
    });
    is_between_requests(&setup);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    for socket in [&client, &upstream] {
        socket.set_nodelay(true).unwrap();
    }
    for _ in 0..2 {
        for byte in get("/1").chars() {
            send(&client, &byte.to_string());
        }
        receive(&upstream, &get("/1"));
        for byte in reply("1").chars() {
            send(&upstream, &byte.to_string());
        }
        receive(&client, &reply("1"));
    }
    is_between_requests(&setup);
}

#[test]
fn a_part_of_a_head_waits_for_its_rest_and_for_the_next_upstream() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    let request = get("/2");
    let (part, rest) = request.split_at(20);
    send(&client, part);
    setup.does(&["lock"]);
    send(&client, rest);
    setup.does(&["unlock"]);
    let next = accept(&setup);
    answer(&next, &client, "/2", "2");
    let got = crate::support::rest(&upstream).unwrap();
    assert_eq!(got, b"", "the last one got no part of it");
}

#[test]
fn requests_that_came_together_are_answered_although_each_upstream_ends_after_one() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, mut upstream) = setup.pair();
    send(&client, &[get("/1"), get("/2"), get("/3")].concat());
    for path in ["/1", "/2", "/3"] {
        receive(&upstream, &get(path));
        send(&upstream, &reply(path));
        drop(upstream);
        receive(&client, &reply(path));
        if path == "/3" {
            break;
        }
        upstream = accept(&setup);
    }
}

#[test]
fn a_request_that_is_sent_again_takes_with_it_what_came_behind() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &[get("/1"), get("/2")].concat());
    receive(&upstream, &get("/1"));
    reset(upstream);
    let upstream = accept(&setup);
    for path in ["/1", "/2"] {
        answer(&upstream, &client, path, path);
    }
    assert_eq!(repeated(&setup), 1);
}

#[test]
fn a_long_head_behind_other_bytes_passes_when_there_is_no_room_for_its_rest() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &get("/"));
    receive(&upstream, &get("/"));
    let line = |letter: &str, length| format!("X: {}\r\n", letter.repeat(length));
    let interim = format!("HTTP/1.1 100 Continue\r\n{}\r\n", line("a", 5_000));
    let head = format!("HTTP/1.1 200 OK\r\n{}", line("b", 62_000));
    send(&upstream, &(interim.clone() + &head));
    receive(&client, &(interim + &head));
    let list = setup.does(&["connections"]);
    assert!(list.contains("an unfinished head"), "{list}");
}
