//! Tests with a correct relay and with faulty ones.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;

use clap::Parser;
use tokio::task::LocalSet;

use crate::crew;
use crate::options::Options;
use crate::report::Report;

/// The treatment of a piece of data by a relay.
type Fault = fn(&mut Vec<u8>);

fn faultless(_: &mut Vec<u8>) {}

/// An upstream, and a relay in front of it that treats a piece of each client's data in
/// this way.
fn relay(fault: Fault) -> (SocketAddr, SocketAddr) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let upstream = SocketAddr::from(([127, high | 1, low, NEXT.fetch_add(1, Relaxed)], 5000));
    let listener = TcpListener::bind((upstream.ip(), 0)).unwrap();
    let front = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let Ok(served) = TcpStream::connect(upstream) else {
                return;
            };
            let back = (served.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || carry(client, served, fault));
            thread::spawn(move || carry(back.0, back.1, faultless));
        }
    });
    (front, upstream)
}

fn carry(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut buffer = vec![0; 65536];
    let mut carried = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut piece = buffer[..count].to_vec();
        // After the greeting.
        if carried > 0 {
            fault(&mut piece);
        }
        carried += count;
        if to.write_all(&piece).is_err() {
            let _ = from.shutdown(Shutdown::Both);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn load(fault: Fault, more: &[&str]) -> Report {
    let (front, upstream) = relay(fault);
    let rest = ["--seconds=1", "--grace=10", "--pause=50"];
    run(front, upstream, &[&rest, more].concat())
}

fn run(front: SocketAddr, upstream: SocketAddr, options: &[&str]) -> Report {
    let (front, upstream) = (front.to_string(), upstream.to_string());
    let usual = [
        "verified-load",
        "--connect",
        &front,
        "--upstream",
        &upstream,
    ];
    let options = Options::parse_from(usual.iter().chain(options));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = LocalSet::new().block_on(&runtime, crew::run(options));
    report.unwrap()
}

const ALL: [&str; 4] = ["--streams=50", "--talkers=3", "--idle=3", "--workers=2"];
/// Options for clients that send data after their greeting.
const STREAMS: [&str; 2] = ["--streams=50", "--sizes=100000-300000"];

#[test]
fn a_relay_that_does_everything_right_loses_nothing() {
    let report = load(faultless, &ALL);
    assert!(!report.is_bad(), "{}", report.line());
    assert!(report.finished() > 50, "{}", report.line());
}

#[test]
fn resets_that_were_to_be_are_not_losses() {
    let report = load(faultless, &["--streams=50", "--resets=2"]);
    assert!(!report.is_bad(), "{}", report.line());
}

#[test]
fn a_changed_byte_is_found() {
    let report = load(|piece| piece[0] ^= 1, &STREAMS);
    assert!(report.corrupt() > 40, "{}", report.line());
}

#[test]
fn a_doubled_byte_is_found() {
    let report = load(|piece| piece.push(piece[piece.len() - 1]), &STREAMS);
    assert!(report.corrupt() > 40, "{}", report.line());
}

#[test]
fn a_missing_byte_is_found() {
    let report = load(|piece| piece.truncate(piece.len() - 1), &STREAMS);
    assert!(report.corrupt() + report.lost() > 40, "{}", report.line());
}

const BRIEF: [&str; 3] = ["--seconds=0.2", "--grace=0.2", "--streams=50"];

#[test]
fn whom_nobody_accepts_is_waiting_and_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = relay(faultless).1;
    let report = run(listener.local_addr().unwrap(), upstream, &BRIEF);
    assert_eq!(report.lost(), 0);
    assert!(report.waiting() > 5 && report.is_bad(), "{}", report.line());
}

#[test]
fn where_nobody_listens_clients_are_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = listener.local_addr().unwrap();
    drop(listener);
    let report = run(front, relay(faultless).1, &BRIEF);
    assert!(report.lost() > 5, "{}", report.line());
    assert_eq!(report.finished(), 0);
}
