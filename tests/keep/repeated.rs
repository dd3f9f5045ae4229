//! Requests that are sent again to another upstream, while the proxy is killed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::listeners::RefusingAddress;
use crate::manager::{Kill, Manager};
use crate::plan::Random;
use crate::requests::{ANSWERS, ASKS, accept, ctl, pair, pass, staying};
use crate::survived::counted;

/// A number of the proxy's status.
pub fn status(manager: &Manager, name: &str) -> u64 {
    let output = ctl(&manager.directory().join("control"), &["--json", "status"]);
    let status: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    status[name].as_u64().unwrap_or(0)
}

pub fn until(manager: &Manager, name: &str, number: u64) {
    let begin = Instant::now();
    while status(manager, name) != number {
        assert!(begin.elapsed() < Duration::from_secs(20), "{name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn does(manager: &Manager, arguments: &[&str]) {
    let output = ctl(&manager.directory().join("control"), arguments).unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn kill(manager: &mut Manager, whom: Kill) {
    manager.kill(whom);
    manager.start();
}

fn reset(stream: TcpStream) {
    let now = Some(Duration::ZERO);
    SockRef::from(&stream).set_linger(now).unwrap();
}

/// A client whose request was lost with its service, which is gone; the address of that.
fn lost(manager: &Manager, service: TcpListener) -> (TcpStream, RefusingAddress) {
    let (client, upstream) = pair(manager, &service);
    pass((&client, &upstream), ASKS);
    let address = RefusingAddress::of(service);
    reset(upstream);
    until(manager, "repeated", 1);
    (client, address)
}

/// The service is there again, and answers.
fn answer(client: &TcpStream, address: RefusingAddress) {
    let service = address.listen(128);
    let mut upstream = accept(&service);
    let mut bytes = vec![0; ASKS.len()];
    upstream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, ASKS.as_bytes());
    pass((&upstream, client), ANSWERS);
    // It gets the next one, too.
    pass((client, &upstream), ASKS);
    pass((&upstream, client), ANSWERS);
}

/// The service is there again, and answers each of these clients once.
pub fn answer_with(address: RefusingAddress, clients: &[TcpStream]) {
    let service = address.listen(128);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut upstreams = Vec::new();
            for _ in clients {
                let mut upstream = accept(&service);
                upstream.read_exact(&mut vec![0; ASKS.len()]).unwrap();
                upstream.write_all(ANSWERS.as_bytes()).unwrap();
                upstreams.push(upstream);
            }
            upstreams
        });
        for mut client in clients {
            let mut bytes = vec![0; ANSWERS.len()];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, ANSWERS.as_bytes());
        }
    });
}

#[test]
fn a_request_that_waits_for_the_end_of_a_lock_is_sent_by_the_next_process() {
    for whom in [Kill::Process, Kill::Group] {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut manager = staying(&service, &["--requests=http"]);
        let (client, address) = lost(&manager, service);
        does(&manager, &["lock", "--timeout", "10s"]);
        for _ in 0..3 {
            kill(&mut manager, whom);
            assert_eq!(
                (status(&manager, "open"), status(&manager, "detached")),
                (0, 1)
            );
        }
        does(&manager, &["unlock"]);
        answer(&client, address);
    }
}

#[test]
fn a_request_that_waits_for_the_service_is_sent_by_the_next_process() {
    for options in [
        &["--requests=http"][..],
        &["--requests=http", "--detach-idle=1ms"],
    ] {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut manager = staying(&service, options);
        let (client, address) = lost(&manager, service);
        let mut random = Random::new(7);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_micros(random.below(200_000)));
            kill(&mut manager, Kill::Process);
        }
        answer(&client, address);
    }
}

#[test]
fn a_part_of_the_next_request_that_waits_too_is_told_apart_by_the_next_process() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    let (mut client, mut upstream) = pair(&manager, &service);
    let (part, rest) = ASKS.split_at(7);
    client.write_all([ASKS, part].concat().as_bytes()).unwrap();
    upstream.read_exact(&mut vec![0; ASKS.len()]).unwrap();
    let address = RefusingAddress::of(service);
    reset(upstream);
    until(&manager, "repeated", 1);
    kill(&mut manager, Kill::Process);
    let mut upstream = accept(&address.listen(128));
    for next in [rest, ""] {
        let mut bytes = vec![0; ASKS.len()];
        upstream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, ASKS.as_bytes());
        pass((&upstream, &client), ANSWERS);
        client.write_all(next.as_bytes()).unwrap();
    }
    // It is between requests, and that is known.
    does(&manager, &["lock", "--timeout", "10s"]);
    assert_eq!(status(&manager, "detached"), 1);
}

#[test]
fn a_process_that_does_not_tell_requests_apart_resets_a_client_whose_request_waits() {
    const KIND: &str = "DISNIX_TCP_PROXY_REQUESTS";
    for (kind, is_reset) in [("none", true), ("lines", false)] {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut manager = staying(&service, &[]);
        manager.env(KIND, "http");
        kill(&mut manager, Kill::Process);
        let (mut client, address) = lost(&manager, service);
        manager.env(KIND, kind);
        kill(&mut manager, Kill::Process);
        let [_, restored, given_up] = counted(&manager);
        assert_eq!(
            (restored, given_up),
            (u64::from(!is_reset), u64::from(is_reset))
        );
        match is_reset {
            true => assert!(client.read(&mut [0]).is_err()),
            // Of these lines nobody knows which belong together.
            false => answer(&client, address),
        }
    }
}

/// The first process has the request, the others have it from the one before.
#[test]
fn whenever_the_proxy_is_killed_while_a_request_is_about_to_be_sent_again_it_is() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    for moment in 0..12 {
        let (client, upstream) = pair(&manager, &service);
        pass((&client, &upstream), ASKS);
        let before = status(&manager, "repeated");
        reset(upstream);
        until(&manager, "repeated", before + 1);
        std::thread::sleep(Duration::from_micros(6_000 * moment));
        kill(&mut manager, Kill::Process);
        // The upstream of a process that was killed before it had sent the request gets nothing.
        loop {
            let mut upstream = accept(&service);
            let mut bytes = Vec::new();
            let mut limited = Read::by_ref(&mut upstream).take(ASKS.len() as u64);
            limited.read_to_end(&mut bytes).unwrap();
            if bytes == ASKS.as_bytes() {
                pass((&upstream, &client), ANSWERS);
                break;
            }
            assert_eq!(bytes, b"", "half a request, moment {moment}");
        }
    }
}

#[test]
fn a_request_is_not_sent_more_often_because_the_proxy_is_killed() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    let mut random = Random::new(1);
    for _ in 0..5 {
        let mut client = TcpStream::connect(manager.address()).unwrap();
        client.write_all(ASKS.as_bytes()).unwrap();
        let served = std::thread::spawn(move || client.read(&mut [0]));
        let mut requests = 0;
        while !served.is_finished() {
            let Ok((mut upstream, _)) = service.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            upstream.set_nonblocking(false).unwrap();
            let mut bytes = vec![0; ASKS.len()];
            if upstream.read_exact(&mut bytes).is_ok() {
                assert_eq!(bytes, ASKS.as_bytes());
                requests += 1;
                reset(upstream);
                std::thread::sleep(Duration::from_micros(random.below(100_000)));
                kill(&mut manager, Kill::Process);
            }
        }
        let result = served.join().unwrap();
        assert!(result.is_err(), "{result:?} after {requests}");
        assert!((1..=4).contains(&requests), "{requests}");
    }
}
