//! Sockets from systemd, readiness, idle exit and the end: what both daemons promise to systemd, and
//! a service that is made with the library.

#[path = "../support/mod.rs"]
mod support;

mod end;
mod inherited;
mod library;
mod own;
mod start;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use support::*;

fn server(address: &mut Option<SocketAddr>) -> Unit {
    Unit::new(SERVER).listener(address)
}

#[test]
fn a_client_is_served_on_an_inherited_listener() {
    let mut address = None;
    let _server = server(&mut address).ready();
    assert_eq!(hello(&connect(address.unwrap())), "Hello world!");
}

#[test]
fn the_watchdog_hears_a_sign_of_life() {
    let mut address = None;
    let mut server = server(&mut address).env("WATCHDOG_USEC", "100000").ready();
    for _ in 0..3 {
        server.until(|message| message.contains("WATCHDOG=1"));
    }
}

#[test]
fn when_descriptors_run_out_clients_wait_and_nobody_is_lost() {
    let mut address = None;
    let mut server = server(&mut address).limit_descriptors(44).ready();
    let address = address.unwrap();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    for mut client in &clients {
        client.write_all(b"hello\nquit\n").unwrap();
    }
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"Hello world!\r\n");
    }
    assert!(server.is_running());
}

#[test]
fn above_connections_max_clients_wait_for_their_turn() {
    let mut address = None;
    let mut server = server(&mut address).arg("--connections-max=1").ready();
    let address = address.unwrap();
    let first = connect(address);
    assert_eq!(hello(&first), "Hello world!");
    let second = connect(address);
    let status = server.until(|message| message.contains("1 open, 1 queued"));
    assert!(status.starts_with("STATUS="), "{status}");
    drop(first);
    assert_eq!(hello(&second), "Hello world!");
}
