//! Clients that say a part of a request while they have no upstream.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

/// A client that has been served, and is detached.
fn detached_client(setup: &Setup) -> std::net::TcpStream {
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    drop(upstream);
    until_detached(setup, 1);
    client
}

/// The service gets the connection of another client next.
fn nobody_is_attached(setup: &Setup) {
    let (other, upstream) = setup.pair();
    exchange(&other, &upstream, "/other");
    drop((other, upstream));
    eventually("the other has left", || open(setup) == 0);
}

#[test]
fn a_client_gets_its_upstream_when_its_head_is_whole() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let client = detached_client(&setup);
    let request = get("/slow");
    for byte in request[..request.len() - 1].chars() {
        send(&client, &byte.to_string());
    }
    nobody_is_attached(&setup);
    assert_eq!(detached(&setup), 1);
    setup.does(&["lock", "--timeout", "5s"]);
    setup.does(&["unlock"]);
    nobody_is_attached(&setup);
    send(&client, "\n");
    let upstream = accept(&setup);
    answer(&upstream, &client, "/slow", "2");
}

#[test]
fn a_client_whose_upstream_ends_in_the_middle_of_a_head_waits_for_the_rest_of_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, "GET /slow HT");
    drop(upstream);
    until_detached(&setup, 1);
    nobody_is_attached(&setup);
    send(&client, "TP/1.1\r\nHost: here\r\n\r\n");
    answer(&accept(&setup), &client, "/slow", "2");
}

/// It waits for as long as the proxy does.
#[test]
fn a_part_of_a_head_passes_after_a_time_and_once() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let client = detached_client(&setup);
    send(&client, "GET / HT");
    let upstream = accept(&setup);
    receive(&upstream, "GET / HT");
    let shown = setup.does(&["connections"]);
    assert!(shown.contains("a head that took too long"), "{shown}");
    send(&client, "TP");
    receive(&upstream, "TP");
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"", "it is not attached again");
}

/// The time is over while the gate is closed.
#[test]
fn clients_that_never_say_the_rest_hold_up_neither_a_lock_nor_those_who_do() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let mut slow = Vec::new();
    for _ in 0..20 {
        let (client, upstream) = setup.pair();
        exchange(&client, &upstream, "/");
        slow.push((client, upstream));
    }
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/");
    setup.does(&["lock", "--timeout", "20s"]);
    for (client, _) in &slow {
        send(client, "GET / HT");
    }
    send(&client, &get("/whole"));
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    answer(&upstream, &client, "/whole", "2");
    assert_eq!((open(&setup), detached(&setup)), (1, 20));
    // Then a lock is not held up by them either.
    drop((client, upstream));
    setup.does(&["lock", "--timeout", "20s"]);
    setup.does(&["unlock"]);
    // Each of them passes once its time is over.
    for _ in 0..20 {
        receive(&accept(&setup), "GET / HT");
    }
}
