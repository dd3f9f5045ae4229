//! A proxy in front of an upstream that the test plays.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::*;

pub struct Setup {
    pub proxy: Running,
    pub address: SocketAddr,
    pub upstream: TcpListener,
}

pub fn proxy_with(options: &[&str]) -> Setup {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let mut address = None;
    let mut unit = Unit::new(PROXY).listener(&mut address).arg(target);
    for option in options {
        unit = unit.arg(option);
    }
    Setup {
        proxy: unit.ready(),
        address: address.unwrap(),
        upstream,
    }
}

impl Setup {
    /// A client and the upstream's side of its connection.
    pub fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.address);
        let (upstream, _) = self.upstream.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, upstream)
    }
}

/// Bytes without a period.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

pub fn is_reset(result: &std::io::Result<Vec<u8>>) -> bool {
    matches!(result, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}
