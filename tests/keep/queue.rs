//! Many clients without an upstream, which speak while no proxy runs.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use crate::listeners::RefusingAddress;
use crate::manager::Kill;
use crate::repeated::{answer_with, does, status, until};
use crate::requests::{ANSWERS, ASKS, pair, pass, staying};

#[test]
fn few_clients_at_a_time_get_an_upstream_from_the_next_process() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http", "--connect-timeout=infinity"]);
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..40 {
        let (client, upstream) = pair(&manager, &service);
        pass((&client, &upstream), ASKS);
        pass((&upstream, &client), ANSWERS);
        clients.push(client);
    }
    does(&manager, &["lock", "--timeout", "20s"]);
    does(&manager, &["unlock"]);
    manager.kill(Kill::Process);
    for client in &mut clients {
        client.write_all(ASKS.as_bytes()).unwrap();
    }
    let address = RefusingAddress::of(service);
    manager.start();
    until(&manager, "open", 5);
    for _ in 0..20 {
        assert_eq!(status(&manager, "open"), 5);
    }
    answer_with(address, &clients);
}
