//! Many clients that get an upstream at once.

use std::net::{Ipv6Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

/// However slow the tests are, the proxy does not give a client up.
const PATIENT: &[&str] = &["--requests=http", "--connect-timeout=infinity"];

const CLIENTS: usize = 100;

/// The most of them that wait for an upstream at once.
const PLACES: u64 = 5;

/// Clients ask while the gate is closed, and the service is there only after it has been opened.
fn ask_a_service_that_comes_late(mut setup: Setup) {
    let _proxy = setup.start_with(PATIENT);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (client, upstream) = setup.pair();
        exchange(&client, &upstream, "/");
        clients.push(client);
    }
    setup.does(&["lock", "--timeout", "20s"]);
    let path = |client: &TcpStream| format!("/{}", client.local_addr().unwrap().port());
    for client in &clients {
        send(client, &get(&path(client)));
    }
    let address = refuse(&mut setup);
    setup.does(&["unlock"]);
    eventually("a few wait for the service", || open(&setup) == PLACES);
    for _ in 0..20 {
        assert_eq!(open(&setup), PLACES);
    }
    // Fewer places than clients.
    let service = address.listen(5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut upstreams = Vec::new();
            for _ in 0..CLIENTS {
                let (upstream, _) = service.accept().unwrap();
                let path = line(&upstream).split(' ').nth(1).unwrap().to_owned();
                send(&upstream, &reply(&path));
                upstreams.push(upstream);
            }
            upstreams
        });
        for client in &clients {
            receive(client, &reply(&path(client)));
        }
    });
}

#[test]
fn few_clients_at_a_time_try_to_reach_a_service_that_refuses() {
    ask_a_service_that_comes_late(Setup::new());
}

#[test]
fn few_clients_at_a_time_try_to_reach_a_service_that_has_a_name() {
    let (mut setup, _held) = loop {
        let setup = Setup::new();
        // The name has this address, too. Nobody else may listen there.
        let held = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        let port = setup.upstream.local_addr().unwrap().port();
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        if held.bind(&address.into()).is_ok() {
            break (setup, held);
        }
    };
    let port = setup.upstream.local_addr().unwrap().port();
    setup.options[0] = format!("localhost:{port}");
    ask_a_service_that_comes_late(setup);
}

#[test]
fn clients_that_leave_while_they_wait_for_the_service_make_room_for_others() {
    let mut setup = Setup::new();
    let _proxy = setup.start_with(PATIENT);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (client, upstream) = setup.pair();
        exchange(&client, &upstream, "/");
        clients.push(client);
    }
    setup.does(&["lock", "--timeout", "20s"]);
    clients.iter().for_each(|client| send(client, &get("/")));
    let address = refuse(&mut setup);
    setup.does(&["unlock"]);
    for left in (1..20).rev() {
        let places = PLACES.min(left + 1);
        eventually("as many wait as may", || open(&setup) == places);
        // Nobody knows which of them waits for the service.
        let client = clients.remove(0);
        reset(client);
        eventually("it has left", || open(&setup) + detached(&setup) == left);
    }
    serve(&mut setup, address);
    receive(&accept(&setup), &get("/"));
}
