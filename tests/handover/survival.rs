//! What continues when the proxy or the server ends.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;

use crate::setup::*;
use crate::support::*;

#[test]
fn when_the_proxy_is_killed_its_connections_go_on_and_the_next_one_waits_for_their_end() {
    let setup = Setup::new();
    let (_server, mut proxy) = (setup.server(), setup.proxy());
    let clients = [setup.client(), setup.client(), setup.client()];
    proxy.signal(libc::SIGKILL);
    eventually("it is gone", || !proxy.is_running());
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["open"], 3);
    let newer = setup.client();
    let listed = setup.connections();
    let before = |one: &&Value| one["upstream"] == "handed over by an earlier process";
    assert_eq!((listed.len(), listed.iter().filter(before).count()), (4, 3));
    let (status, text) = setup.ctl(&["close", "0"]);
    assert!(status != 0 && text.contains("earlier process"), "{text}");

    let mut lock = setup.begin_lock(&[]);
    drop(newer);
    for (left, client) in clients.into_iter().rev().enumerate().rev() {
        assert!(lock.try_wait().unwrap().is_none());
        assert_eq!(hello(&client), "Hello world!");
        drop(client);
        setup.open_becomes(left as u64);
    }
    assert!(lock.wait().unwrap().success());
}

#[test]
fn a_lock_that_outlives_a_kill_waits_for_handed_over_clients() {
    let setup = Setup::new();
    let (_server, mut proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let lock = ctl(&setup.path("control"), &["lock"])
        .stdout(Stdio::null())
        .spawn();
    eventually("the lock waits", || setup.status()["gate"] == "draining");
    proxy.signal(libc::SIGKILL);
    eventually("it is gone", || !proxy.is_running());
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["gate"], "draining");
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    assert!(lock.unwrap().wait().unwrap().success());
    assert_eq!(setup.status()["gate"], "locked");
}

#[test]
fn when_the_server_is_killed_its_clients_see_the_end_at_once() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    server.signal(libc::SIGKILL);
    assert_eq!(rest(&client).unwrap(), b"");
    setup.open_becomes(0);
    // Bytes that were not read make the end a reset, as always.
    let server = setup.server();
    let mut client = setup.client();
    server.stop();
    client.write_all(b"hello\n").unwrap();
    server.signal(libc::SIGKILL);
    assert!(is_reset(&client));
    setup.open_becomes(0);
}

#[test]
fn when_the_server_is_killed_clients_that_it_has_not_served_go_to_the_next_one() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let silent: Vec<TcpStream> = (0..5).map(|_| setup.connect()).collect();
    setup.open_becomes(5);
    server.signal(libc::SIGKILL);
    let _server = setup.server();
    for client in &silent {
        assert_eq!(hello(client), "Hello world!");
    }
    assert_eq!(setup.status()["unreachable"], 0);
}

#[test]
fn a_proxy_that_is_stopped_exits_at_once_and_its_connections_stay() {
    let setup = Setup::new();
    let (_server, proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    proxy.signal(libc::SIGTERM);
    ends_well(proxy);
    assert_eq!(hello(&client), "Hello world!");
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["open"], 1);
    drop(client);
    setup.open_becomes(0);
}

#[test]
fn a_proxy_is_not_idle_while_one_that_it_handed_over_is_open() {
    let setup = Setup::new();
    let _server = setup.server();
    let client = setup.connect();
    let mut proxy = setup.proxy_with(&["--exit-idle-time=0"]);
    assert_eq!(hello(&client), "Hello world!");
    assert_eq!(setup.status()["open"], 1);
    assert!(proxy.is_running());
    drop(client);
    ends_well(proxy);
}

#[test]
fn a_successor_counts_each_connection_that_its_predecessor_handed_over_once() {
    let setup = Setup::new();
    let _server = setup.server();
    let address = free_address();
    let unit = || {
        let directory = setup.directory.path().to_str().unwrap();
        Unit::new(PROXY)
            .env("RUNTIME_DIRECTORY", directory)
            .arg("--control")
            .arg(setup.path("control"))
            .arg("--take-over")
            .arg("--listen")
            .arg(address.to_string())
            .arg(setup.target())
    };
    let old = unit().ready();
    let clients = [connect(address), connect(address)];
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    let _new = unit().ready();
    ends_well(old);
    let newer = connect(address);
    assert_eq!(hello(&newer), "Hello world!");
    setup.open_becomes(3);
    let mut lock = setup.begin_lock(&[]);
    for client in clients {
        assert_eq!(hello(&client), "Hello world!");
        assert!(lock.try_wait().unwrap().is_none());
    }
    drop(newer);
    assert!(lock.wait().unwrap().success());
}
