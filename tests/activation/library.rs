//! `examples/echo-server.rs`, the service that is made with the library, as systemd would run it.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// `cargo test` builds it; `cargo test --test activation` does not.
fn echo_server() -> Unit {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let program = folder.join("examples/echo-server");
    assert!(
        program.exists(),
        "{} is missing: cargo build --example echo-server",
        program.display()
    );
    Unit::new(program.to_str().unwrap())
}

fn echo(mut stream: &TcpStream) -> String {
    stream.write_all(b"again\n").unwrap();
    line(stream)
}

#[test]
fn it_ends_without_clients_and_the_next_one_is_served_by_the_next_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = || listener.try_clone().unwrap();
    let mut server = echo_server().socket("clients", socket()).ready();
    let client = connect(address);
    assert_eq!(echo(&client), "again");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"");
    server.until(|message| message.contains("STOPPING=1"));
    let late = connect(address);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("nobody has used it"), "{log}");
    let _next = echo_server().socket("clients", socket()).ready();
    assert_eq!(echo(&late), "again");
}

#[test]
fn told_to_stop_it_lets_a_connection_end_and_accepts_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = echo_server()
        .socket("clients", listener.try_clone().unwrap())
        .ready();
    let client = connect(address);
    assert_eq!(echo(&client), "again");
    server.signal(libc::SIGTERM);
    server.until(|message| message.contains("STOPPING=1"));
    server.until(|message| message.contains("EXTEND_TIMEOUT_USEC="));
    let late = connect(address);
    assert_eq!(echo(&client), "again", "it goes on");
    drop(client);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(!log.contains("cut off"), "{log}");
    let _next = echo_server().socket("clients", listener).ready();
    assert_eq!(echo(&late), "again");
}

#[test]
fn a_proxy_hands_its_clients_over_to_it_and_counts_them_until_they_end() {
    let directory = tempfile::tempdir().unwrap();
    let [path, control] = ["queue", "control"].map(|name| directory.path().join(name));
    let queue = UnixDatagram::bind(&path).unwrap();
    let mut address = None;
    let _proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg("--control")
        .arg(&control)
        .arg(format!("handover:{}", path.display()))
        .ready();
    let client = connect(address.unwrap());
    let _server = echo_server().socket("handover", queue).ready();
    assert_eq!(echo(&client), "again");
    assert_eq!(open(&control), 1);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"");
    eventually("the proxy no longer counts it", || open(&control) == 0);
}

fn open(control: &Path) -> u64 {
    let (_, text) = run_ctl(control, &["--json", "status"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    status["open"].as_u64().unwrap()
}

#[test]
fn without_sockets_it_says_what_has_to_start_it() {
    let (status, log) = echo_server().fails();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("a .socket unit"), "{log}");
}
