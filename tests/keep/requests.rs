//! Clients that stay while their upstreams come and go, and the proxy is killed: every reply names its request.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::forking;
use crate::http::{HttpService, ask};
use crate::manager::{Kill, Manager, Program};
use crate::repeated::until;
use crate::seconds;
use crate::sockets::Kind;

const CLIENTS: u64 = 8;

/// Clients that come over one kind of socket ask while the proxy is killed and locked again and again. Returns how many
/// requests were answered.
fn requests(from: Kind, service: &HttpService, kills: bool, locks: bool) -> u64 {
    // A request that its upstream may leave unanswered has to be short enough to be sent again.
    let longest = if service.is_closing { 50_000 } else { 200_000 };
    let body_sizes = [0, 10, 3000, longest];
    let mut manager = Manager::of(Program::Proxy, from, service.target.clone(), 2);
    manager.arg("--requests=http");
    manager.arg("--detach-idle=20ms");
    manager.start();
    let place = manager.place().clone();
    let control = manager.control();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|seed| {
                scope.spawn({
                    let (place, over) = (&place, &over);
                    move || ask(place, seed, body_sizes, over)
                })
            })
            .collect();
        if locks {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    // It fails when the proxy is killed meanwhile, and is made anew.
                    let _ = ctl(&control, &["lock"]);
                    let _ = ctl(&control, &["unlock"]);
                }
            });
        }
        let until = Instant::now() + seconds();
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(120));
            if kills {
                manager.kill(Kill::Process);
                manager.start();
            }
        }
        over.store(true, Relaxed);
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        let sum = counts.map(|count| count.expect("a request was lost")).sum();
        println!(
            "{sum} requests over {} connections",
            service.connections.load(Relaxed)
        );
        sum
    })
}

pub fn ctl(control: &std::path::Path, arguments: &[&str]) -> io::Result<std::process::Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"));
    command.arg("--control").arg(control).args(arguments);
    forking::output(&mut command)
}

#[test]
fn every_request_is_answered_while_the_proxy_is_killed() {
    let service = HttpService::start(Kind::Tcp, false);
    assert!(requests(Kind::Tcp, &service, true, false) > CLIENTS);
}

#[test]
fn every_request_is_answered_while_the_proxy_is_locked_and_clients_change_their_upstreams() {
    let service = HttpService::start(Kind::Tcp, false);
    assert!(requests(Kind::Tcp, &service, false, true) > CLIENTS);
    assert!(service.connections.load(Relaxed) > CLIENTS as usize);
}

#[test]
fn every_request_is_answered_while_the_proxy_is_both_killed_and_locked() {
    let service = HttpService::start(Kind::Tcp, false);
    assert!(requests(Kind::Tcp, &service, true, true) > CLIENTS);
}

#[test]
fn every_request_is_answered_while_the_service_ends_connections_as_it_likes() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let service = HttpService::start(kind, true);
        assert!(requests(kind, &service, false, true) > CLIENTS);
    }
}

#[test]
fn every_request_is_answered_between_local_sockets_while_the_proxy_is_killed_and_locked() {
    for (from, to) in [
        (Kind::Unix, Kind::Unix),
        (Kind::Tcp, Kind::Unix),
        (Kind::Unix, Kind::Tcp),
    ] {
        let service = HttpService::start(to, false);
        assert!(requests(from, &service, true, true) > CLIENTS);
    }
}

/// A proxy whose clients stay, with this service.
pub fn staying(service: &TcpListener, options: &[&str]) -> Manager {
    let target = service.local_addr().unwrap().to_string();
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, target, 1);
    options.iter().for_each(|option| manager.arg(option));
    manager.start();
    manager
}

/// A client and its upstream.
pub fn pair(manager: &Manager, service: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(manager.address()).unwrap();
    (patient(client), accept(service))
}

pub fn accept(service: &TcpListener) -> TcpStream {
    patient(service.accept().unwrap().0)
}

fn patient(stream: TcpStream) -> TcpStream {
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// These bytes go from one to the other.
pub fn pass((mut from, mut to): (&TcpStream, &TcpStream), text: &str) {
    from.write_all(text.as_bytes()).unwrap();
    let mut bytes = vec![0; text.len()];
    to.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

pub const ASKS: &str = "GET / HTTP/1.1\r\n\r\n";
pub const ANSWERS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// The process is killed, and the next one gives the detached client an upstream when it asks.
fn is_attached_by_the_next_process(
    manager: &mut Manager,
    client: &TcpStream,
    service: &TcpListener,
) {
    manager.kill(Kill::Process);
    manager.start();
    { client }.write_all(ASKS.as_bytes()).unwrap();
    let upstream = accept(service);
    let mut bytes = vec![0; ASKS.len()];
    (&upstream).read_exact(&mut bytes).unwrap();
    pass((&upstream, client), ANSWERS);
}

#[test]
fn a_detached_client_is_attached_by_the_next_process_when_it_speaks() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    let (client, mut upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    pass((&upstream, &client), ANSWERS);
    let control = manager.control();
    assert!(ctl(&control, &["lock"]).unwrap().status.success());
    assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
    assert!(ctl(&control, &["unlock"]).unwrap().status.success());
    is_attached_by_the_next_process(&mut manager, &client, &service);
}

/// What a service says between two requests, before it ends the connection, is dropped.
#[test]
fn a_client_whose_service_said_something_at_its_end_outlives_the_process_too() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    let (client, upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    pass((&upstream, &client), ANSWERS);
    (&upstream)
        .write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    drop(upstream);
    until(&manager, "detached", 1);
    is_attached_by_the_next_process(&mut manager, &client, &service);
}

/// Requests were not told apart in the process before, so nobody knows whether one is under way.
#[test]
fn a_request_of_a_process_without_the_option_holds_up_the_next_ones_lock() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &[]);
    let (client, upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    manager.kill(Kill::Process);
    manager.arg("--requests=http");
    manager.start();
    let control = manager.control();
    let lock = ctl(&control, &["lock", "--timeout", "300ms"]).unwrap();
    assert_eq!(lock.status.code(), Some(3));
    pass((&upstream, &client), ANSWERS);
}

#[test]
fn a_request_is_passed_on_whether_requests_are_told_apart_by_each_process_or_not() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &[]);
    let (client, upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    for kind in ["http", "none", "http", "lines", "http"] {
        manager.kill(Kill::Process);
        manager.env("DISNIX_TCP_PROXY_REQUESTS", kind);
        manager.start();
        pass((&upstream, &client), ANSWERS);
        pass((&client, &upstream), ASKS);
    }
}

#[test]
fn a_client_that_is_idle_is_detached_although_no_process_lives_for_so_long() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ["--requests=http", "--detach-idle=1s"];
    let mut manager = staying(&service, &options);
    let (client, mut upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    pass((&upstream, &client), ANSWERS);
    upstream.set_nonblocking(true).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while upstream.read(&mut [0]).is_err() {
        assert!(
            Instant::now() < until,
            "each process lets the time begin anew"
        );
        std::thread::sleep(Duration::from_millis(100));
        manager.kill(Kill::Process);
        manager.start();
    }
    (&client).write_all(ASKS.as_bytes()).unwrap();
    let upstream = accept(&service);
    pass((&upstream, &client), ANSWERS);
}
