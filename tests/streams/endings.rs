//! Ends that look like others.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::front::{Front, Path, Wiring};
use crate::support::*;

const PATHS: [Path; 3] = [Path::Usual, Path::Threads(1), Path::NoPipes];

/// The kernel reports a reset once; here to the direction that sends to the peer that resets.
#[test]
fn a_client_with_bytes_on_the_way_sees_the_reset_of_its_upstream_as_a_reset() {
    for path in PATHS {
        for _ in 0..20 {
            let front = Front::new(path, Wiring::TcpToTcp);
            let (mut client, mut upstream) = front.pair();
            client.write_all(b"a question").unwrap();
            upstream.read_exact(&mut [0; 10]).unwrap();
            front.proxy.stop();
            client.write_all(b"another one").unwrap();
            upstream.write_all(b"half an ans").unwrap();
            reset(upstream);
            front.proxy.signal(libc::SIGCONT);
            client.read_exact(&mut [0; 11]).unwrap();
            let end = rest(&client).map_err(|error| error.kind());
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{path:?}");
        }
    }
}

/// A close with unread bytes is a reset; what was sent before it arrives whole.
#[test]
fn a_client_that_asks_and_closes_is_heard_to_the_end_though_it_is_answered_in_vain() {
    for path in PATHS {
        let front = Front::new(path, Wiring::TcpToTcp);
        let (mut client, mut upstream) = front.pair();
        client.write_all(b"a question").unwrap();
        drop(client);
        upstream.write_all(&[b'a'; 100_000]).unwrap();
        let mut question = String::new();
        upstream.read_to_string(&mut question).unwrap();
        assert_eq!(question, "a question", "{path:?}");
    }
}

#[test]
fn a_reset_behind_bulk_comes_after_every_byte_that_was_taken() {
    for path in PATHS {
        let front = Front::new(path, Wiring::TcpToTcp);
        let (client, mut upstream) = front.pair();
        let bytes = vec![7; 5_000_000];
        let reader = std::thread::spawn(move || {
            let mut client = client;
            let mut received = vec![0; 5_000_000];
            client.read_exact(&mut received).unwrap();
            rest(&client).map_err(|error| error.kind())
        });
        upstream.write_all(&bytes).unwrap();
        eventually("everything is taken", || unsent(&upstream) == 0);
        reset(upstream);
        let end = reader.join().unwrap();
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{path:?}");
    }
}

/// A peer that writes everything before it reads cannot read before its bytes are taken: of a peer
/// that is gone the proxy has to.
#[test]
fn a_peer_that_writes_everything_before_it_reads_gets_all_bytes_of_one_that_is_gone() {
    for path in PATHS {
        for (wiring, client_leaves) in [
            (Wiring::TcpToTcp, true),
            (Wiring::TcpToTcp, false),
            (Wiring::TcpToUnix, true),
            (Wiring::UnixToTcp, false),
        ] {
            let front = Front::new(path, wiring);
            let (client, upstream) = front.ends();
            let (leaves, mut stays) = match client_leaves {
                true => (client, upstream),
                false => (upstream, client),
            };
            let said = fill(&leaves);
            leaves.set_linger(Some(Duration::ZERO)).unwrap();
            drop(leaves);

            let what = format!("{path:?}, {wiring:?}");
            let written = stays.write_all(&[8; 20_000_000]);
            written.unwrap_or_else(|error| panic!("{what}: nobody takes it: {error}"));
            let mut heard = vec![0; said];
            stays.read_exact(&mut heard).expect(&what);
            assert!(heard.iter().all(|byte| *byte == 7), "{what}");
            // And what was on its way when it was full.
            let end = std::io::copy(&mut stays, &mut std::io::sink());
            if wiring == Wiring::TcpToTcp {
                let end = end.map_err(|error| error.kind());
                assert_eq!(end, Err(ErrorKind::ConnectionReset), "{what}");
            }
        }
    }
}

/// Sends as much as is taken while nothing is read, and returns how much that was.
fn fill(end: &Socket) -> usize {
    let mut said = 0;
    end.set_nonblocking(true).unwrap();
    loop {
        said += end.send(&[7; 50_000]).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_millis(100);
        while unsent(end) > 0 {
            if Instant::now() > deadline {
                return said - unsent(end);
            }
            std::thread::yield_now();
        }
    }
}

fn unsent(stream: &impl std::os::fd::AsFd) -> usize {
    disnix_proxy_example::service::kernel::unacknowledged_bytes(stream.as_fd()).unwrap()
}
