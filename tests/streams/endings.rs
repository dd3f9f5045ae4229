//! Ends that look like others.

use std::io::{ErrorKind, Read, Write};

use crate::front::{Front, Path, Wiring};
use crate::support::*;

const PATHS: [Path; 3] = [Path::Usual, Path::Threads(1), Path::NoPipes];

/// The kernel tells of a reset once; here it tells the direction that sends to who resets.
#[test]
fn a_reset_is_not_taken_for_the_end_by_who_still_has_something_to_say_to_the_one_who_resets() {
    for path in PATHS {
        for _ in 0..20 {
            let front = Front::new(path, Wiring::TcpToTcp);
            let (mut client, mut upstream) = front.pair();
            client.write_all(b"a question").unwrap();
            upstream.read_exact(&mut [0; 10]).unwrap();
            front.proxy.signal(libc::SIGSTOP);
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

/// Whoever closes without having read everything resets; what it said before is whole.
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

fn unsent(stream: &std::net::TcpStream) -> usize {
    disnix_proxy_example::service::kernel::unacknowledged_bytes(std::os::fd::AsFd::as_fd(stream))
        .unwrap()
}
