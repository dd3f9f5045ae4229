//! A successor that says by itself which of the clients that are passed on it takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use disnix_proxy_example::service::rights;
use rustix::net::RecvFlags;
use serde_json::{Value, json};

use crate::kinds::*;
use crate::setup::*;
use crate::support::*;

const KIND: Kind = Kind::Lines;

struct StandIn {
    stream: UnixStream,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl StandIn {
    /// Takes over with these parameters of `Retire`.
    fn new(setup: &Setup, parameters: Value) -> Self {
        let stream = UnixStream::connect(setup.control()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stand_in = Self {
            stream,
            bytes: Vec::new(),
            descriptors: Vec::new(),
        };
        stand_in.call(json!({ "method": name("HandOver") }));
        assert_eq!(stand_in.reply().unwrap()["error"], Value::Null);
        // The listeners.
        stand_in.descriptors.clear();
        stand_in.call(json!({ "method": name("Retire"), "more": true, "parameters": parameters }));
        assert_eq!(stand_in.reply().unwrap()["error"], Value::Null);
        stand_in
    }

    fn call(&mut self, call: Value) {
        let call = format!("{call}\0");
        self.stream.write_all(call.as_bytes()).unwrap();
    }

    fn confirm(&mut self, taken: usize, reason: &str) {
        let parameters = json!({ "taken": taken, "reason": reason });
        self.call(json!({
            "method": name("ConfirmClients"), "oneway": true, "parameters": parameters
        }));
    }

    /// The next reply, unless the other process has ended.
    fn reply(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == 0) {
                let reply = serde_json::from_slice(&self.bytes[..end]).unwrap();
                self.bytes.drain(..=end);
                return Some(reply);
            }
            let mut buffer = [0; 4096];
            let carried = rights::receive(&self.stream, &mut buffer, RecvFlags::empty()).unwrap();
            if carried.bytes == 0 {
                return None;
            }
            self.bytes.extend(&buffer[..carried.bytes]);
            self.descriptors.extend(carried.descriptors);
        }
    }

    /// Waits for clients that are passed on.
    fn clients(&mut self) -> Vec<(TcpStream, Value)> {
        loop {
            let mut reply = self.reply().unwrap();
            if let Value::Array(clients) = reply["parameters"]["clients"].take() {
                let sockets = self.descriptors.drain(..).map(TcpStream::from);
                return sockets.zip(clients).collect();
            }
        }
    }
}

fn name(method: &str) -> String {
    format!("io.github.disnix-proxy-example.Proxy.{method}")
}

/// A proxy with clients that have been served, and are passed on to this process.
fn passed(count: usize) -> (Setup, Running, Vec<TcpStream>, StandIn) {
    let setup = Setup::new();
    KIND.answer_all(&setup.upstream);
    let old = setup.staying(KIND).ready();
    let clients = setup.clients(count, KIND);
    let stand_in = StandIn::new(&setup, json!({ "requests": "lines" }));
    (setup, old, clients, stand_in)
}

#[test]
fn until_a_client_is_confirmed_it_is_left_alone_and_then_it_is_the_successors() {
    let (_setup, mut old, clients, mut stand_in) = passed(1);
    let (mut socket, described) = stand_in.clients().pop().unwrap();
    let connection = &described["connection"];
    let address = clients[0].local_addr().unwrap().to_string();
    assert_eq!(
        (&connection["peer"], &connection["detached"]),
        (&address.into(), &true.into())
    );
    let bytes = KIND.request("first-0").len();
    assert_eq!(connection["receivedBytes"], bytes);
    KIND.ask(&clients[0], "second");
    let mut request = vec![0; KIND.request("second").len()];
    socket.set_nonblocking(false).unwrap();
    socket.read_exact(&mut request).unwrap();
    assert_eq!(request, KIND.request("second").as_bytes());
    assert!(old.is_running());
    stand_in.confirm(5, "there is one");
    ends_well(old);
    socket.write_all(KIND.reply("second").as_bytes()).unwrap();
    KIND.is_answered(&clients[0], "second");
    drop(socket);
    assert_eq!(rest(&clients[0]).unwrap(), b"");
}

#[test]
fn what_a_successor_does_not_take_goes_on_where_it_is() {
    let (_setup, mut old, clients, mut stand_in) = passed(2);
    let mut passed = stand_in.clients();
    KIND.ask(&clients[0], "second");
    KIND.ask(&clients[1], "second");
    stand_in.confirm(0, "it is full");
    assert!(old.until_logged("takes no more").contains("it is full"));
    passed.clear();
    for client in &clients {
        KIND.is_answered(client, "second");
        KIND.exchange(client, "third");
    }
    drop(clients);
    ends_well(old);
}

#[test]
fn with_a_successor_that_ends_before_it_has_confirmed_its_clients_end_once() {
    let (_setup, old, clients, mut stand_in) = passed(3);
    assert!(!stand_in.clients().is_empty());
    drop(stand_in);
    ends_well(old);
    for client in clients {
        assert!(rest(&client).is_err(), "it looks whole");
    }
}

#[test]
fn a_successor_of_an_earlier_version_is_passed_no_client() {
    let setup = Setup::new();
    KIND.answer_all(&setup.upstream);
    let old = setup.staying(KIND).ready();
    let clients = setup.clients(2, KIND);
    setup.does(&["lock"]);
    let mut stand_in = StandIn::new(&setup, json!({}));
    for client in &clients {
        KIND.exchange(client, "second");
    }
    drop(clients);
    ends_well(old);
    while let Some(reply) = stand_in.reply() {
        assert_eq!(reply["parameters"]["clients"], Value::Null);
    }
}
