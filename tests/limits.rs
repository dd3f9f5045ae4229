//! What one source, or one receiver that does not read, can take from others.

mod support;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};
use support::*;

/// A proxy in front of an upstream that the test plays itself.
struct Setup {
    proxy: Running,
    address: SocketAddr,
    upstream: TcpListener,
}

fn proxy_with(options: &[&str]) -> Setup {
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
    /// A client that comes from 127.0.0.`last`. One that is reset at once may see that while it still connects.
    fn client(&self, last: u8) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&from.into())?;
        socket.connect(&self.address.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// One that is served, and the upstream's side of its connection.
    fn served(&self, last: u8) -> (TcpStream, TcpStream) {
        let client = self.client(last).unwrap();
        let (mut upstream, _) = self.upstream.accept().unwrap();
        upstream.write_all(b"hello\n").unwrap();
        assert_eq!(line(&client), "hello");
        (client, upstream)
    }
}

/// Its buffers need 2 GiB, or less if descriptors are few; all the rest does with little.
#[test]
fn a_proxy_with_too_little_address_space_says_so_and_serves_with_fewer_connections() {
    let start = |most: u32| {
        let unit = Unit::new(PROXY).listener(&mut None).arg("localhost:1");
        let unit = unit.arg(format!("--connections-max={most}"));
        unit.limit(libc::RLIMIT_AS, 1 << 29)
    };
    let (status, log) = start(16384).fails();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("no room for the buffers of connections"),
        "{log}"
    );
    assert!(
        last.ends_with("(raise LimitAS= or lower --connections-max)"),
        "{log}"
    );
    start(64).ready();
}

#[test]
fn a_proxy_with_room_for_its_connections_starts_with_any_number_of_threads() {
    let setup = proxy_with(&["--threads=9999999999999"]);
    let _served = setup.served(1);
}

#[test]
fn a_source_that_has_its_share_is_reset_and_does_not_keep_others_out() {
    let mut setup = proxy_with(&["--connections-max=3", "--connections-max-per-source=2"]);
    let first = setup.served(1);
    let _second = setup.served(1);
    for _ in 0..20 {
        assert!(setup.client(1).and_then(|client| rest(&client)).is_err());
    }
    let other = setup.served(2);
    let log = setup.proxy.until_logged("--connections-max-per-source");
    assert!(log.contains("127.0.0.1 has 2 open connections"), "{log}");
    // Its place is free again when one of them has ended, on both sides.
    drop((first, other));
    let upstream = setup.upstream.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut upstream, _)) = upstream.accept() {
            let _ = upstream.write_all(b"x");
        }
    });
    eventually("it has room again", || {
        let served = setup.client(1).and_then(|mut client| client.read(&mut [0]));
        served.is_ok_and(|bytes| bytes == 1)
    });
}

#[test]
fn bytes_that_wait_for_a_receiver_that_takes_none_end_the_connection_and_idle_ones_go_on() {
    let setup = proxy_with(&["--stall-timeout=1s"]);
    let (mut idle, mut its_upstream) = setup.served(1);
    let (deaf, mut floods) = setup.served(2);
    floods.set_write_timeout(Some(PATIENCE)).unwrap();
    // Both sides see a reset, the sender first.
    let piece = vec![7; 1 << 20];
    let broken = std::iter::repeat_with(|| floods.write_all(&piece)).find_map(Result::err);
    let kind = broken.unwrap().kind();
    assert!(
        matches!(
            kind,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ),
        "{kind}"
    );
    assert!(rest(&deaf).is_err());
    idle.write_all(b"still here\n").unwrap();
    assert_eq!(line(&its_upstream), "still here");
    its_upstream.write_all(b"and I\n").unwrap();
    assert_eq!(line(&idle), "and I");
}
