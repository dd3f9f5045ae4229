//! The paths that the other tests believe in are those that bytes take.
//!
//! A process that is killed by the system call that it must not make is a witness that cannot err.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;

use disnix_proxy_example::service::arrival::Accepted;
use disnix_proxy_example::service::handover::Queue;
use rustix::net::{RecvFlags, recv};

use crate::front::{Front, Path, SPLICE_KILLS, Wiring};
use crate::process::{pipes, threads};
use crate::sandbox::{Verdict, restrict};
use crate::socket::{Place, Upstream};
use crate::support::*;

fn where_splicing_kills(path: Path) -> Front {
    Front::with(path, Wiring::TcpToTcp, |unit| {
        restrict(unit, &[SPLICE_KILLS])
    })
}

/// Carries ten megabytes; whether they came.
fn carries_bulk(front: &Front) -> bool {
    let (mut client, upstream) = front.pair();
    let reader = std::thread::spawn(move || rest(&upstream).map(|bytes| bytes.len()));
    // The proxy may be killed while we write.
    let written = client.write_all(&vec![7; 10_000_000]);
    let _ = client.shutdown(Shutdown::Write);
    let received = reader.join().unwrap();
    written.is_ok() && received.is_ok_and(|count| count == 10_000_000)
}

#[test]
fn bulk_is_spliced() {
    for path in [Path::Usual, Path::Threads(1), Path::Threads(3)] {
        let front = where_splicing_kills(path);
        assert!(
            !carries_bulk(&front),
            "{path:?} carries bulk without splice"
        );
        let (status, log) = front.proxy.ends();
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{path:?}: {log}");
    }
}

#[test]
fn small_messages_are_copied_and_take_no_pipe() {
    let mut front = Front::with(Path::Usual, Wiring::TcpToTcp, |unit| {
        restrict(unit, &[SPLICE_KILLS, (libc::SYS_pipe2, Verdict::Kills)])
    });
    let (mut client, mut upstream) = front.pair();
    for size in (1..=16_000).step_by(500) {
        let mut bytes = vec![7; size];
        client.write_all(&bytes).unwrap();
        upstream.read_exact(&mut bytes).unwrap();
        upstream.write_all(&bytes).unwrap();
        client.read_exact(&mut bytes).unwrap();
    }
    assert!(front.proxy.is_running());
}

#[test]
fn without_pipes_or_with_small_ones_bulk_is_copied() {
    for path in [Path::NoPipes, Path::SmallPipes] {
        let mut front = where_splicing_kills(path);
        assert!(carries_bulk(&front), "{path:?}");
        assert!(front.proxy.is_running(), "{path:?}");
    }
}

#[test]
fn a_pipe_is_kept_for_the_next_bulk_and_not_made_anew() {
    let front = Front::new(Path::Threads(1), Wiring::TcpToTcp);
    let before = pipes(front.proxy.pid());
    for _ in 0..20 {
        assert!(carries_bulk(&front));
    }
    let kept = pipes(front.proxy.pid()) - before;
    assert!((1..=4).contains(&kept), "{kept} pipes");
}

#[test]
fn one_thread_carries_all_connections_while_it_is_enough() {
    for most in [1, 3] {
        let front = Front::new(Path::Threads(most), Wiring::TcpToTcp);
        let before = threads(front.proxy.pid());
        let pairs: Vec<_> = (0..20).map(|_| front.pair()).collect();
        for (client, upstream) in &pairs {
            (&*client).write_all(b"x\n").unwrap();
            assert_eq!(line(upstream), "x");
        }
        assert_eq!(threads(front.proxy.pid()), before);
    }
}

#[test]
fn what_is_handed_over_does_not_pass_the_proxy() {
    let front = Front::new(Path::Usual, Wiring::Handover);
    let (Place::Tcp(address), Upstream::Handover(queue)) = (&front.place, &front.upstream) else {
        unreachable!("that is what it is wired to");
    };
    let mut client = connect(*address);
    let mut received = None;
    eventually("the client is handed over", || {
        received = Queue::default().receive(queue.as_fd()).ok();
        received.is_some()
    });
    let Some(Accepted::Client(upstream)) = received else {
        panic!("that is no client");
    };
    front.proxy.stop();
    client.write_all(b"nobody in between").unwrap();
    let mut buffer = [0; 100];
    eventually("it arrives", || {
        recv(&upstream.socket, &mut buffer, RecvFlags::empty()).is_ok_and(|(count, _)| count == 17)
    });
}
