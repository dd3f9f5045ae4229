//! What keeping costs, and how long restoring takes. Not part of the tests: it prints.
//!
//! `cargo test --release --test keep -- --ignored --nocapture cost`

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use disnix_proxy_example::proxy::keep::account::Place;
use disnix_proxy_example::proxy::keep::{Keep, Way};
use disnix_proxy_example::service::clock::Uptime;

use crate::manager::{Kill, Manager};

/// Set in a process that measures.
pub const MEASURE: &str = "KEEP_TEST_MEASURE";

/// What the process that has the store does.
pub fn measure(keep: Keep) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (client, _) = listener.accept().unwrap();
    const COUNT: u32 = 100_000;
    let each = |what: &str, act: &mut dyn FnMut()| {
        let begin = Instant::now();
        (0..COUNT).for_each(|_| act());
        eprintln!("{what}: {:?}", begin.elapsed() / COUNT);
    };
    let slot = keep.claim().unwrap();
    keep.park(slot, client.as_fd(), upstream.as_fd());
    let flow = slot.flow(Way::Up);
    each("a receive and a send written down", &mut || {
        flow.receiving(Place::Buffer(3));
        flow.received(100);
        flow.sending();
        flow.sent(100);
    });
    each(
        "a connection: claimed, parked, parked with upstream, released",
        &mut || {
            let slot = keep.claim().unwrap();
            slot.describe(7, Uptime::now());
            keep.park_client(slot, client.as_fd());
            keep.park(slot, client.as_fd(), upstream.as_fd());
            keep.release(slot);
        },
    );
    each(
        "a connection: claimed, parked with upstream, released",
        &mut || {
            let slot = keep.claim().unwrap();
            slot.describe(7, Uptime::now());
            keep.park(slot, client.as_fd(), upstream.as_fd());
            keep.release(slot);
        },
    );
}

#[test]
#[ignore = "prints what it costs"]
fn cost_of_each_connection() {
    let mut manager = Manager::new("127.0.0.1:1".into(), 1);
    manager.env(MEASURE, "1");
    manager.start();
}

#[test]
#[ignore = "prints how long it takes to go on"]
fn cost_of_going_on() {
    for count in [0, 100, 1000, 9000] {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = upstream.local_addr().unwrap().to_string();
        let accepting = std::thread::spawn(move || {
            let upstreams = upstream.incoming().take(count);
            upstreams.collect::<Result<Vec<_>, _>>().unwrap()
        });
        let mut manager = Manager::new(target, 2);
        manager.start();
        let address = manager.address();
        let clients: Vec<TcpStream> = (0..count)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let upstreams = accepting.join().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        println!("memory: {}", manager.memory());
        for kill in [Kill::Process, Kill::Process, Kill::Group, Kill::Group] {
            let begin = Instant::now();
            manager.kill(kill);
            let gone = begin.elapsed();
            let status = manager.start();
            let status = status.lines().find(|line| line.starts_with("STATUS="));
            println!(
                "{count} connections, {kill:?}: gone after {gone:?}, ready after {:?}; {}",
                begin.elapsed(),
                status.unwrap_or_default()
            );
        }
        drop((clients, upstreams));
    }
}
