//! TCP connections within this machine, for unit tests.

use std::net::{TcpListener, TcpStream};

/// A new connection: the end that has connected, and the one that was accepted.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (connected, listener.accept().unwrap().0)
}
