//! Listeners that are closed.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Closes a listener, and waits until nobody can connect: a process that another test has just forked has a copy until it
/// becomes another program.
pub fn close_listener(listener: TcpListener) {
    let address = listener.local_addr().unwrap();
    drop(listener);
    let begin = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{address} is still open"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The address of a service that is not there: it refuses, and nobody else can listen there.
pub struct RefusingAddress(Socket);

impl RefusingAddress {
    /// That of this listener.
    pub fn of(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        close_listener(listener);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        Self(socket)
    }

    /// The service is there again, with this number of places in its backlog.
    pub fn listen(self, places: i32) -> TcpListener {
        self.0.listen(places).unwrap();
        self.0.into()
    }
}

/// An address that nobody uses, as far as one can know.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    close_listener(listener);
    address
}
