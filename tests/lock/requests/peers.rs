//! Clients and upstreams that speak a little HTTP, and lines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::setup::Setup;
use crate::support::*;

/// A proxy that tells requests of HTTP apart.
pub const HTTP: &[&str] = &["--requests=http"];

/// A proxy that tells lines apart.
pub const LINES: &[&str] = &["--requests=lines"];

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")
}

pub fn reply(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn send(mut to: &TcpStream, text: &str) {
    to.write_all(text.as_bytes()).unwrap();
}

/// Receives this text, and nothing else before it.
pub fn receive(mut from: &TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    let result = from.read_exact(&mut bytes);
    assert_eq!(
        (
            String::from_utf8_lossy(&bytes).as_ref(),
            result.map_err(|error| error.kind())
        ),
        (text, Ok(()))
    );
}

/// The other side of the next connection to the upstream.
pub fn accept(setup: &Setup) -> TcpStream {
    setup.upstream.set_nonblocking(true).unwrap();
    let mut accepted = None;
    eventually("the upstream gets a connection", || {
        accepted = setup.upstream.accept().ok();
        accepted.is_some()
    });
    setup.upstream.set_nonblocking(false).unwrap();
    let (upstream, _) = accepted.unwrap();
    upstream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    upstream
}

/// A request and its reply.
pub fn exchange(client: &TcpStream, upstream: &TcpStream, path: &str) {
    send(client, &get(path));
    answer(upstream, client, path, path);
}

/// The request for `path` reaches the upstream, and the reply with this body the client.
pub fn answer(upstream: &TcpStream, client: &TcpStream, path: &str, body: &str) {
    receive(upstream, &get(path));
    send(upstream, &reply(body));
    receive(client, &reply(body));
}

pub fn detached(setup: &Setup) -> u64 {
    setup.status()["detached"].as_u64().unwrap_or(0)
}

pub fn repeated(setup: &Setup) -> u64 {
    setup.status()["repeated"].as_u64().unwrap_or(0)
}

pub fn open(setup: &Setup) -> u64 {
    setup.status()["open"].as_u64().unwrap()
}

/// Waits until this many clients are detached.
pub fn until_detached(setup: &Setup, count: u64) {
    eventually("clients are detached", || detached(setup) == count);
}

/// The service is not there any more.
pub fn refuse(setup: &mut Setup) -> RefusingAddress {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    RefusingAddress::of(std::mem::replace(&mut setup.upstream, elsewhere))
}

/// The service is there again.
pub fn serve(setup: &mut Setup, address: RefusingAddress) {
    setup.upstream = address.listen(128);
}
