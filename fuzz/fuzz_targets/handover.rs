//! Datagrams on a handover socket: any bytes, with any number of descriptors.
#![no_main]

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use disnix_proxy_example::service::handover::wire::{self, Datagram, ClientWithToken};
use libfuzzer_sys::fuzz_target;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// More than a datagram may have.
const DESCRIPTORS_MAX: usize = wire::DESCRIPTORS * wire::CLIENTS_MAX + 4;

fuzz_target!(|datagrams: Vec<(u8, &[u8])>| {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
    let (mut end, token) = std::io::pipe().expect("a pipe");
    for (count, bytes) in datagrams {
        let count = usize::from(count) % DESCRIPTORS_MAX;
        if send(&theirs, bytes, &vec![token.as_fd(); count]).is_err() {
            continue; // the kernel takes no datagram of that size
        }
        let mut pairs: Vec<ClientWithToken> = Vec::new();
        match wire::receive(&ours, &mut pairs).expect("a datagram") {
            Datagram::Clients => {
                assert_eq!(bytes, wire::MESSAGE);
                assert_eq!(pairs.len() * wire::DESCRIPTORS, count);
            }
            Datagram::Foreign(_) => assert!(pairs.is_empty()),
            Datagram::Truncated => panic!("there are descriptors left"),
        }
    }
    drop(token);
    // No descriptor is left behind.
    assert_eq!(end.read(&mut [0]).expect("the end"), 0);
});

fn send(
    queue: &UnixDatagram,
    bytes: &[u8],
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(queue, &[IoSlice::new(bytes)], &mut ancillary, flags)
}
