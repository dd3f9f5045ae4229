//! Clients that stay, between sockets of all kinds: detached, attached again and with a request that is repeated, in one
//! process or in two.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use crate::manager::{Kill, Manager, Program};
use crate::requests::ctl;
use crate::sockets::Kind;

const KINDS: [(Kind, Kind); 4] = [
    (Kind::Tcp, Kind::Tcp),
    (Kind::Tcp, Kind::Unix),
    (Kind::Unix, Kind::Tcp),
    (Kind::Unix, Kind::Unix),
];

/// What becomes of the process in the middle of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Connections are kept, and it is killed.
    Killed,
    /// Connections are kept.
    Lives,
    /// They would end with it.
    LivesAlone,
}

/// A proxy whose clients stay, and the service behind it, which the test plays.
struct Staying {
    manager: Manager,
    service: Socket,
    fate: Fate,
    _directory: tempfile::TempDir,
}

impl Staying {
    fn start((from, to): (Kind, Kind), fate: Fate) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (service, place) = to.listen(directory.path(), "service");
        let mut manager = Manager::of(Program::Proxy, from, place.target(), 1);
        manager.arg("--requests=http");
        if fate == Fate::LivesAlone {
            manager.keep_nothing();
        }
        let lock = directory.path().to_string_lossy().into_owned();
        manager.env("RUNTIME_DIRECTORY", &lock);
        manager.start();
        Self {
            manager,
            service: service.into(),
            fate,
            _directory: directory,
        }
    }

    fn client(&self) -> Socket {
        patient(self.manager.place().connect().unwrap())
    }

    fn accept(&self) -> Socket {
        patient(self.service.accept().unwrap().0)
    }

    /// The moment at which the process may be killed.
    fn meets_its_fate(&mut self) {
        if self.fate == Fate::Killed {
            self.manager.kill(Kill::Process);
            self.manager.start();
        }
    }

    fn does(&self, verb: &str) {
        let output = ctl(&self.manager.control(), &[verb]).unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until this many clients are detached.
    fn until_detached(&self, count: u64) {
        for _ in 0..4000 {
            let output = ctl(&self.manager.control(), &["--json", "status"]).unwrap();
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            if status["detached"].as_u64() == Some(count) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("they are not detached");
    }
}

fn patient(socket: Socket) -> Socket {
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).unwrap();
    socket
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")
}

fn send(mut to: &Socket, text: &str) {
    to.write_all(text.as_bytes()).unwrap();
}

fn receive(mut from: &Socket, text: &str, what: &str) {
    let mut bytes = vec![0; text.len()];
    let received = from.read_exact(&mut bytes);
    assert!(received.is_ok(), "{what}: {received:?}");
    assert_eq!(String::from_utf8_lossy(&bytes), text, "{what}");
}

/// The upstream gets the request for this path, and the client its reply.
fn answer(upstream: &Socket, client: &Socket, path: &str, what: &str) {
    receive(upstream, &get(path), what);
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
        path.len()
    );
    send(upstream, &reply);
    receive(client, &reply, what);
}

fn exchange(upstream: &Socket, client: &Socket, path: &str, what: &str) {
    send(client, &get(path));
    answer(upstream, client, path, what);
}

fn is_at_its_end(mut socket: &Socket) -> bool {
    matches!(socket.read(&mut [0]), Ok(0))
}

fn with_all(test: impl Fn(&mut Staying, &str)) {
    for kinds in KINDS {
        for fate in [Fate::LivesAlone, Fate::Lives, Fate::Killed] {
            test(
                &mut Staying::start(kinds, fate),
                &format!("{kinds:?} {fate:?}"),
            );
        }
    }
}

#[test]
fn a_client_is_detached_by_a_lock_and_attached_after_it() {
    with_all(|staying, what| {
        let client = staying.client();
        let upstream = staying.accept();
        exchange(&upstream, &client, "/1", what);
        staying.does("lock");
        assert!(is_at_its_end(&upstream), "{what}");
        staying.until_detached(1);
        staying.meets_its_fate();
        send(&client, &get("/2"));
        staying.until_detached(1);
        staying.does("unlock");
        let upstream = staying.accept();
        answer(&upstream, &client, "/2", what);
        exchange(&upstream, &client, "/3", what);
    });
}

#[test]
fn an_upstream_that_is_lost_between_requests_is_replaced() {
    with_all(|staying, what| {
        let client = staying.client();
        let upstream = staying.accept();
        exchange(&upstream, &client, "/1", what);
        drop(upstream);
        staying.until_detached(1);
        staying.meets_its_fate();
        send(&client, &get("/2"));
        let upstream = staying.accept();
        answer(&upstream, &client, "/2", what);
        staying.meets_its_fate();
        exchange(&upstream, &client, "/3", what);
        client.shutdown(Shutdown::Write).unwrap();
        assert!(is_at_its_end(&upstream), "{what}");
    });
}

#[test]
fn a_request_whose_upstream_is_lost_before_the_reply_is_repeated() {
    with_all(|staying, what| {
        let client = staying.client();
        let upstream = staying.accept();
        exchange(&upstream, &client, "/1", what);
        send(&client, &get("/2"));
        receive(&upstream, &get("/2"), what);
        drop(upstream);
        let upstream = staying.accept();
        receive(&upstream, &get("/2"), what);
        // What was sent again is not sent once more by the next process.
        staying.meets_its_fate();
        let reply = "HTTP/1.1 204 No Content\r\n\r\n";
        send(&upstream, reply);
        receive(&client, reply, what);
        exchange(&upstream, &client, "/3", what);
    });
}

#[test]
fn a_client_that_waits_for_a_descriptor_is_attached_when_there_is_one_by_the_same_process_or_the_next()
 {
    with_all(|staying, what| {
        let client = staying.client();
        let upstream = staying.accept();
        exchange(&upstream, &client, "/1", what);
        drop(upstream);
        staying.until_detached(1);
        let before = staying.manager.change_limit(4);
        send(&client, &get("/2"));
        // The proxy tries in vain, and there is no event to wait for.
        std::thread::sleep(Duration::from_millis(100));
        staying.meets_its_fate();
        staying.manager.change_limit(before);
        let upstream = staying.accept();
        answer(&upstream, &client, "/2", what);
        exchange(&upstream, &client, "/3", what);
    });
}

#[test]
fn a_client_that_was_connected_before_requests_were_told_apart_stays_as_it_is_and_the_reason_is_shown()
 {
    let (service, place) = Kind::Tcp.listen(std::path::Path::new("/"), "service");
    let service: Socket = service.into();
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, place.target(), 1);
    manager.start();
    let client = patient(manager.place().connect().unwrap());
    let upstream = patient(service.accept().unwrap().0);
    exchange(&upstream, &client, "/1", "before");
    manager.arg("--requests=http");
    manager.kill(Kill::Process);
    manager.start();
    exchange(&upstream, &client, "/2", "after");
    let output = ctl(&manager.control(), &["--json", "connections"]).unwrap();
    let connections: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        connections[0]["opaque"], "connected before --requests was set",
        "{connections}"
    );
}
