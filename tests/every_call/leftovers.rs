//! What an earlier process has left in the store, whatever it is, keeps no process from serving.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::open::{Open, upstream};
use crate::service::{STORED, Service};

const NAME: &str = "kept-connections";

/// A service with one open connection, whose process was killed with everything that it had.
fn killed() -> (Service, Open) {
    let service = Service::new(upstream());
    service.start();
    let open = Open::new(&service);
    service.end(libc::SIGKILL);
    (service, open)
}

/// The next process serves, and has put the store in order.
fn serves(service: &Service, others: &[&str]) {
    service.start();
    Open::new(service).finish();
    let mut stored = service.stored();
    stored.retain(|name| !others.contains(&name.as_str()));
    assert_eq!(stored, [NAME; STORED], "{}", service.log());
}

fn pipe() -> OwnedFd {
    rustix::pipe::pipe().unwrap().0
}

fn memory(content: &[u8]) -> OwnedFd {
    let file = memfd_create("leftover", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&file, content).unwrap();
    file
}

fn socket() -> OwnedFd {
    let (one, _) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    one
}

#[test]
fn what_an_earlier_version_called_otherwise_is_taken_out() {
    let (service, mut open) = killed();
    service.put("kept-connections-probe", pipe());
    serves(&service, &[]);
    open.echo();
}

#[test]
fn unknown_descriptors_are_logged_and_not_used() {
    let (service, mut open) = killed();
    service.put("something", pipe());
    service.put("else", memory(b"kept-tcp"));
    serves(&service, &["something", "else"]);
    let log = service.log();
    assert!(
        log.contains("WARN") && log.contains("“something” is not used"),
        "{log}"
    );
    open.echo();
}

#[test]
fn a_table_without_the_rest_is_replaced() {
    let (service, open) = killed();
    service.retain(|index| index == 0);
    serves(&service, &[]);
    drop(open);
}

#[test]
fn what_is_parked_without_a_table_expect_reset() {
    let (service, open) = killed();
    service.retain(|index| index != 0);
    serves(&service, &[]);
    open.expect_reset();
}

#[test]
fn what_is_parked_and_not_complete_expect_reset() {
    let (service, open) = killed();
    // The queue of the will.
    service.retain(|index| index < 10);
    serves(&service, &[]);
    open.expect_reset();
}

#[test]
fn a_table_of_anything_is_replaced() {
    for content in [
        &b"kept-tcp"[..],
        &[255; 10_000],
        &[b"kept-tcp\x03\0\0\0".as_slice(), &[255; 99_999]].concat(),
    ] {
        let service = Service::new(upstream());
        for part in [memory(content), memory(b""), socket(), pipe()] {
            service.put(NAME, part);
        }
        serves(&service, &[]);
    }
}

#[test]
fn what_is_there_twice_or_unknown_among_it_does_no_harm() {
    let (service, mut open) = killed();
    let (others, lost) = killed();
    for part in [socket(), memory(b"kept-tcp"), pipe()] {
        service.put(NAME, part);
    }
    others.move_to(&service);
    service.start();
    open.echo();
    lost.expect_reset();
    Open::new(&service).finish();
    drop(open);
    while service.open() > 0 {}
    service.end(libc::SIGTERM);
    assert_eq!(service.stored(), [""; 0]);
}
