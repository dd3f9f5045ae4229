//! The counts of the proxy are exact, to the byte.

use std::io::{Read, Write};
use std::rc::Rc;

use crate::front::{Front, Path, Wiring};
use crate::plan::Plan;
use crate::run::{plans, run, seed};
use crate::support::eventually;

fn counted(front: &Front) -> (u64, u64) {
    let mut status = front.asks(&["status"]);
    // A connection is counted as closed a moment after its ends have seen that it is.
    eventually("all connections are closed", || {
        status = front.asks(&["status"]);
        status["open"] == 0
    });
    let number = |name: &str| status[name].as_u64().unwrap();
    (number("receivedBytes"), number("sentBytes"))
}

#[test]
fn after_orderly_connections_the_sums_are_exact() {
    let seed = seed();
    for (path, wiring) in [
        (Path::Usual, Wiring::TcpToTcp),
        (Path::Usual, Wiring::TcpToUnix),
        (Path::Usual, Wiring::HeaderV2),
        (Path::Usual, Wiring::Handover),
        (Path::NoPipes, Wiring::TcpToTcp),
        (Path::Threads(3), Wiring::UnixToTcp),
    ] {
        let front = Rc::new(Front::new(path, wiring));
        let big = [Plan::bulk(seed, 5_000_000, 7_000_000)];
        let plans = big.into_iter().chain(plans(seed, 50, Plan::orderly));
        let totals = run(&front, seed, plans);
        assert_eq!(totals.connections, 51);
        assert_eq!(
            counted(&front),
            (totals.up.0, totals.down.0),
            "with STREAMS_SEED={seed}, {path:?}, {wiring:?}"
        );
    }
}

#[test]
fn after_broken_connections_the_sums_hold_what_arrived_and_no_more_than_was_sent() {
    let seed = seed();
    let front = Rc::new(Front::new(Path::Usual, Wiring::TcpToTcp));
    let totals = run(&front, seed, plans(seed, 150, Plan::any));
    let (received, sent) = counted(&front);
    let within = |count, (most, least)| (least..=most).contains(&count);
    assert!(
        within(received, totals.up) && within(sent, totals.down),
        "with STREAMS_SEED={seed}: {received} and {sent} of {totals:?}"
    );
}

#[test]
fn of_an_open_connection_every_byte_is_counted_that_has_arrived() {
    for path in [Path::Usual, Path::NoPipes, Path::SmallPipes] {
        let front = Front::new(path, Wiring::TcpToTcp);
        let (mut client, mut upstream) = front.pair();
        let (up, down) = (3_000_001, 2_000_003);
        let send = |mut stream: &std::net::TcpStream, count| {
            stream.write_all(&vec![7; count]).unwrap();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| send(&client, up));
            upstream.read_exact(&mut vec![0; up]).unwrap();
        });
        std::thread::scope(|scope| {
            scope.spawn(|| send(&upstream, down));
            client.read_exact(&mut vec![0; down]).unwrap();
        });
        let mut seen = serde_json::Value::Null;
        eventually(&format!("{up} and {down} are counted by {path:?}"), || {
            seen = front.asks(&["connections"])[0].clone();
            seen["receivedBytes"] == up && seen["sentBytes"] == down
        });
    }
}
