//! Datagrams on a handover socket: any bytes, with any number of descriptors.
#![no_main]

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use disnix_proxy_example::service::handover::wire::{self, ClientWithToken, Datagram};
use disnix_proxy_example::service::rights;
use libfuzzer_sys::fuzz_target;
use rustix::net::SendFlags;

/// More than a datagram may have.
const DESCRIPTORS_MAX: usize = wire::DESCRIPTORS * wire::CLIENTS_MAX + 4;

fuzz_target!(|datagrams: Vec<(u8, &[u8])>| {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
    let (mut end, token) = std::io::pipe().expect("a pipe");
    for (count, bytes) in datagrams {
        let count = usize::from(count) % DESCRIPTORS_MAX;
        let descriptors = vec![token.as_fd(); count];
        if rights::send(&theirs, bytes, &descriptors, SendFlags::DONTWAIT).is_err() {
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
