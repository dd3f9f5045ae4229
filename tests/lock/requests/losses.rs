//! Upstreams that end or break.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

#[test]
fn an_upstream_that_ends_between_requests_is_replaced_and_its_client_is_not_told() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    drop(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    let upstream = accept(&setup);
    answer(&upstream, &client, "/2", "2");
    reset(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/3"));
    receive(&accept(&setup), &get("/3"));
}

#[test]
fn a_request_that_can_be_repeated_is_if_its_upstream_is_lost_before_the_reply() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    send(&client, &get("/2"));
    receive(&upstream, &get("/2"));
    reset(upstream);
    let upstream = accept(&setup);
    receive(&upstream, &get("/2"));
    drop(upstream);
    let upstream = accept(&setup);
    answer(&upstream, &client, "/2", "2");
    assert_eq!(repeated(&setup), 2);
    exchange(&client, &upstream, "/3");
}

#[test]
fn it_is_not_repeated_for_ever() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &get("/"));
    receive(&upstream, &get("/"));
    reset(upstream);
    for _ in 0..3 {
        let upstream = accept(&setup);
        receive(&upstream, &get("/"));
        reset(upstream);
    }
    rest(&client).unwrap_err();
}

#[test]
fn a_request_that_may_have_been_carried_out_is_not_repeated() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let post = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
    send(&client, post);
    receive(&upstream, post);
    reset(upstream);
    rest(&client).unwrap_err();
    assert_eq!(repeated(&setup), 0);
}

#[test]
fn it_gets_a_fresh_upstream_if_the_last_one_has_ended() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    drop(upstream);
    let post = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
    send(&client, post);
    let upstream = accept(&setup);
    receive(&upstream, post);
    send(&upstream, &reply("done"));
    receive(&client, &reply("done"));
}

#[test]
fn a_reply_that_breaks_off_is_passed_on_as_it_is() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    for breaks in [false, true] {
        let (client, upstream) = setup.pair();
        send(&client, &get("/"));
        receive(&upstream, &get("/"));
        send(&upstream, half);
        receive(&client, half);
        match breaks {
            true => {
                reset(upstream);
                rest(&client).unwrap_err();
            }
            false => {
                drop(upstream);
                assert_eq!(rest(&client).unwrap(), b"");
            }
        }
    }
}

#[test]
fn a_service_that_closes_every_connection_without_an_answer_does_not_keep_the_proxy_busy() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    drop(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/"));
    let mut connections = 0;
    std::thread::scope(|scope| {
        let served = scope.spawn(|| rest(&client).map_err(drop));
        while !served.is_finished() {
            setup.upstream.set_nonblocking(true).unwrap();
            connections += u32::from(setup.upstream.accept().is_ok());
            std::thread::yield_now();
        }
    });
    assert!(connections <= 6, "{connections}");
}
