//! `disnix-tcp-proxy-inetd`: programs that speak on standard input and output, for the clients of a real proxy.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "a part of it is for the server")]
#[path = "../handover/setup.rs"]
mod setup;

mod failing;
mod lifetime;
mod programs;

use std::net::{Shutdown, TcpStream};

use setup::*;
use support::*;

const INETD: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxy-inetd");

/// The helper for a command.
fn unit(setup: &Setup, options: &[&str], command: &[&str]) -> Unit {
    let unit = Unit::new(INETD).socket("handover", setup.queue.try_clone().unwrap());
    let words = options.iter().chain(command);
    words.fold(unit, |unit, word| unit.arg(word))
}

/// The helper for a shell script.
fn script(setup: &Setup, script: &str) -> Running {
    unit(setup, &["--log-level=debug"], &["sh", "-c", script]).ready()
}

/// What a client reads that sends these bytes, and then its end.
fn talk(setup: &Setup, bytes: &str) -> String {
    use std::io::Write;
    let client = setup.connect();
    (&client).write_all(bytes.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(rest(&client).unwrap()).unwrap()
}

/// Sends a line to `cat`, and reads it.
fn echo(mut client: &TcpStream, word: &str) {
    use std::io::Write;
    writeln!(client, "{word}").unwrap();
    assert_eq!(line(client), word);
}

/// Whether a client has nothing to read right now.
fn is_silent(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let result = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    matches!(result, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
