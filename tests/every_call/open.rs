//! Connections through the proxy, and where they lead.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::service::Service;

/// A connection through the proxy.
pub struct Open {
    client: TcpStream,
    sent: usize,
    received: usize,
}

impl Open {
    pub fn new(service: &Service) -> Self {
        let mut open = Self {
            client: service.connect(),
            sent: 0,
            received: 0,
        };
        open.echo();
        open
    }

    /// Everything comes back.
    pub fn echo(&mut self) {
        for _ in 0..2 {
            self.send(5);
            self.receive(5);
        }
    }

    fn send(&mut self, count: usize) {
        let bytes: Vec<u8> = (self.sent..self.sent + count).map(|at| at as u8).collect();
        self.client.write_all(&bytes).unwrap();
        self.sent += count;
    }

    fn receive(&mut self, count: usize) {
        let mut bytes = vec![0; count];
        self.client.read_exact(&mut bytes).unwrap();
        let expected: Vec<u8> = (self.received..).map(|at| at as u8).take(count).collect();
        assert_eq!(bytes, expected);
        self.received += count;
    }

    /// It was cut, and that shows.
    pub fn expect_reset(mut self) {
        let rest = self.client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(rest, Err(ErrorKind::ConnectionReset));
    }

    /// It ends in order.
    pub fn finish(mut self) {
        self.client.shutdown(std::net::Shutdown::Write).unwrap();
        let rest = self.client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(rest, Ok::<usize, ErrorKind>(0));
    }
}

/// Sends back what it gets.
pub fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)
            });
        }
    });
    address
}
