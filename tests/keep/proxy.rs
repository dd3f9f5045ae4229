//! The proxy itself is killed, between sockets of all kinds.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::manager::{Kill, Manager, Program};
use crate::plan::{Plan, Random};
use crate::sockets::{Kind, Place, mptcp};
use crate::streams::carry;
use crate::upstream::Upstream;
use crate::{Run, nobody, run_to, run_with};

/// Kills it while clients that come over one kind of socket are led to an upstream of another.
fn between(from: Kind, to: Kind) -> Run {
    let upstream = Upstream::start(to);
    let mut manager = Manager::of(Program::Proxy, from, upstream.target(), 2);
    manager.start();
    run_with(
        &mut manager,
        &upstream,
        Some(Kill::Process),
        12,
        Plan::random,
    )
}

#[test]
fn nothing_is_lost_between_tcp_and_tcp() {
    nobody(&between(Kind::Tcp, Kind::Tcp));
}

#[test]
fn nothing_is_lost_between_tcp_and_local_sockets() {
    nobody(&between(Kind::Tcp, Kind::Unix));
}

#[test]
fn nothing_is_lost_between_local_sockets_and_tcp() {
    nobody(&between(Kind::Unix, Kind::Tcp));
}

#[test]
fn nothing_is_lost_between_local_sockets() {
    nobody(&between(Kind::Unix, Kind::Unix));
}

/// The kernel's counts of such a client are those of one of its subflows.
#[test]
fn nothing_is_lost_between_mptcp_and_tcp() {
    match mptcp() {
        Ok(_) => nobody(&between(Kind::Mptcp, Kind::Tcp)),
        Err(error) => eprintln!("not tested, for this kernel has no MPTCP: {error}"),
    }
}

/// A client that does not speak it comes over TCP.
#[test]
fn nothing_is_lost_between_tcp_at_a_listener_of_mptcp_and_tcp() {
    let Ok(_) = mptcp() else {
        return;
    };
    let upstream = Upstream::start(Kind::Tcp);
    let mut manager = Manager::of(Program::Proxy, Kind::Mptcp, upstream.target(), 2);
    manager.start();
    let place = Place::Tcp(manager.address());
    let kill = Some(Kill::Process);
    nobody(&run_to(
        &place,
        &mut manager,
        &upstream,
        kill,
        12,
        Plan::random,
    ));
}

/// Each kill has the next process look at everything anew: here there is none.
#[test]
fn nobody_waits_in_vain_while_nothing_is_killed() {
    let kinds = [
        (Kind::Tcp, Kind::Unix),
        (Kind::Unix, Kind::Tcp),
        (Kind::Unix, Kind::Unix),
        (Kind::Mptcp, Kind::Tcp),
    ];
    for (from, to) in kinds {
        if from == Kind::Mptcp && mptcp().is_err() {
            continue;
        }
        let upstream = Upstream::start(to);
        let mut manager = Manager::of(Program::Proxy, from, upstream.target(), 2);
        manager.start();
        let place = manager.place();
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    let mut random = Random::new(number);
                    for _ in 0..6 {
                        let outcome = carry(place, &Plan::random(&mut random));
                        assert!(outcome.result.is_ok(), "{from:?} {to:?} {outcome:?}");
                    }
                });
            }
        });
        assert_eq!(upstream.corrupt(), Vec::<String>::new());
    }
}

/// What the upstream receives first is no byte of the client's.
#[test]
fn the_header_for_a_local_socket_comes_once_and_first() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, Place::Unix(path)) = Kind::Unix.listen(directory.path(), "upstream") else {
        panic!("it has no path");
    };
    let listener = UnixListener::from(listener);
    let target = path.to_string_lossy().into_owned();
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, target, 1);
    manager.arg("--proxy-protocol=v1");
    manager.start();
    let mut random = Random::new(815);
    for _ in 0..30 {
        let mut client = TcpStream::connect(manager.address()).unwrap();
        let from = client.local_addr().unwrap();
        client.write_all(b"hello").unwrap();
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        manager.kill(Kill::Process);
        manager.start();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        while heard.is_empty() {
            // A connection that carried nothing before the kill carries nothing after it.
            let (mut upstream, _) = listener.accept().unwrap();
            upstream.read_to_string(&mut heard).unwrap();
        }
        let header = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
            from.port(),
            manager.address().port()
        );
        assert_eq!(heard, format!("{header}hello"));
    }
}
