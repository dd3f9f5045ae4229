//! What waits for an upstream while the gate is closed, the target changes, or the proxy ends.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

#[test]
fn a_client_whose_upstream_is_not_there_does_not_hold_up_a_lock() {
    let mut setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    let address = refuse(&mut setup);
    drop(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    let new = connect(setup.address());
    send(&new, &get("/3"));
    eventually("both wait for an upstream", || open(&setup) == 2);
    setup.does(&["lock", "--timeout", "10s"]);
    assert_eq!((open(&setup), detached(&setup)), (0, 2));
    serve(&mut setup, address);
    setup.does(&["unlock"]);
    for _ in 0..2 {
        let upstream = accept(&setup);
        let path = line(&upstream).split(' ').nth(1).unwrap().to_owned();
        send(&upstream, &reply(&path));
        receive(if path == "/2" { &client } else { &new }, &reply(&path));
    }
}

#[test]
fn a_request_that_waits_to_be_sent_again_waits_for_the_end_of_a_lock() {
    let mut setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, &get("/1"));
    receive(&upstream, &get("/1"));
    let address = refuse(&mut setup);
    reset(upstream);
    eventually("it is to be sent again", || repeated(&setup) == 1);
    setup.does(&["lock", "--timeout", "10s"]);
    assert_eq!((open(&setup), detached(&setup)), (0, 1));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    serve(&mut setup, address);
    setup.does(&["unlock"]);
    let upstream = accept(&setup);
    answer(&upstream, &client, "/1", "1");
}

#[test]
fn a_detached_client_gets_the_new_target() {
    let setup = Setup::without_target();
    let _proxy = setup.start_with(HTTP);
    setup.does(&["set-target", &setup.target()]);
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/1");
    setup.does(&["lock"]);
    let new = Setup::new();
    setup.does(&["set-target", &new.target()]);
    send(&client, &get("/2"));
    setup.does(&["unlock"]);
    let upstream = accept(&new);
    answer(&upstream, &client, "/2", "2");
}

#[test]
fn each_upstream_gets_the_header_and_a_request_that_is_sent_again_is_behind_it() {
    let setup = Setup::new();
    let _proxy = setup.start_with(&["--requests=http", "--proxy-protocol=v1"]);
    let (client, upstream) = setup.pair();
    let header = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.local_addr().unwrap().port(),
        setup.address().port()
    );
    receive(&upstream, &header);
    send(&client, &get("/1"));
    receive(&upstream, &get("/1"));
    reset(upstream);
    let upstream = accept(&setup);
    receive(&upstream, &[header.as_str(), &get("/1")].concat());
    send(&upstream, &reply("1"));
    receive(&client, &reply("1"));
    drop(upstream);
    until_detached(&setup, 1);
    send(&client, &get("/2"));
    receive(&accept(&setup), &[header.as_str(), &get("/2")].concat());
}

#[test]
fn detached_clients_end_with_the_proxy_also_those_that_are_detached_last() {
    let setup = Setup::new();
    let proxy = setup.start_with(HTTP);
    let (busy, busy_upstream) = setup.pair();
    let (idle, idle_upstream) = setup.pair();
    let (detached, detached_upstream) = setup.pair();
    exchange(&idle, &idle_upstream, "/");
    exchange(&detached, &detached_upstream, "/");
    drop(detached_upstream);
    until_detached(&setup, 1);
    send(&busy, &get("/busy"));
    receive(&busy_upstream, &get("/busy"));
    proxy.signal(15);
    assert_eq!(rest(&detached).unwrap(), b"");
    drop(idle_upstream);
    assert_eq!(rest(&idle).unwrap(), b"");
    send(&busy_upstream, &reply("busy"));
    receive(&busy, &reply("busy"));
    drop((busy, busy_upstream));
    assert!(proxy.ends().0.success());
}
