//! An end that was not one is a reset: however the proxy ends, both sides see one, unless the direction to
//! them had ended.

mod support;

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};
use support::*;

/// How the proxy ends, with connections open.
#[derive(Clone, Copy, Debug)]
enum End {
    DrainTimeout,
    SecondSignal,
    Killed,
    TakenOver,
}

const ENDS: [End; 4] = [
    End::DrainTimeout,
    End::SecondSignal,
    End::Killed,
    End::TakenOver,
];

struct Setup {
    proxy: Running,
    upstream: TcpListener,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

fn unit(address: SocketAddr, upstream: &TcpListener, directory: &tempfile::TempDir) -> Unit {
    Unit::new(PROXY)
        .env("RUNTIME_DIRECTORY", directory.path().to_str().unwrap())
        .env("STATE_DIRECTORY", directory.path().to_str().unwrap())
        .arg("--take-over")
        .arg("--control")
        .arg(directory.path().join("control"))
        .arg(format!("--listen={address}"))
        .arg(upstream.local_addr().unwrap().to_string())
}

fn setup(end: End) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let timeout = match end {
        End::SecondSignal => "infinity",
        _ => "0",
    };
    let proxy = unit(address, &upstream, &directory)
        .arg(format!("--drain-timeout={timeout}"))
        .ready();
    Setup {
        proxy,
        upstream,
        address,
        directory,
    }
}

impl Setup {
    /// A client and the upstream's side of its connection; each has half of what the other one sends.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = connect(self.address);
        client.write_all(b"half of an upload\n").unwrap();
        let (mut upstream, _) = self.upstream.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(line(&upstream), "half of an upload");
        upstream.write_all(b"half of an answer\n").unwrap();
        assert_eq!(line(&client), "half of an answer");
        (client, upstream)
    }

    /// The proxy ends. What is returned is its successor, if it has one.
    fn end(self, end: End) -> Option<Running> {
        let mut proxy = self.proxy;
        let mut successor = None;
        match end {
            End::DrainTimeout => proxy.signal(libc::SIGTERM),
            End::SecondSignal => {
                proxy.signal(libc::SIGTERM);
                proxy.until(|message| message.contains("STOPPING=1"));
                proxy.signal(libc::SIGTERM);
            }
            End::Killed => proxy.signal(libc::SIGKILL),
            End::TakenOver => {
                successor = Some(unit(self.address, &self.upstream, &self.directory).ready());
            }
        }
        proxy.ends();
        successor
    }
}

fn is_reset(stream: &TcpStream) -> bool {
    matches!(rest(stream), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

/// Waits until its peer's end has come, behind whatever is there to be read.
fn has_the_end(stream: &TcpStream) {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let patience = rustix::event::Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    assert_eq!(
        poll(&mut fds, Some(&patience)),
        Ok(1),
        "the end has not come"
    );
}

#[test]
fn both_sides_of_a_connection_that_is_cut_see_a_reset() {
    for end in ENDS {
        let setup = setup(end);
        let pairs: Vec<_> = (0..3).map(|_| setup.pair()).collect();
        let _successor = setup.end(end);
        for (client, upstream) in pairs {
            assert!(is_reset(&client), "{end:?}: the client");
            assert!(is_reset(&upstream), "{end:?}: the upstream");
        }
    }
}

#[test]
fn a_client_that_has_its_whole_answer_keeps_it_and_the_upstream_sees_a_reset() {
    for end in ENDS {
        let setup = setup(end);
        let (client, mut upstream) = setup.pair();
        upstream.write_all(&[7; 20_000]).unwrap();
        upstream.shutdown(Shutdown::Write).unwrap();
        has_the_end(&client);
        let _successor = setup.end(end);
        assert!(is_reset(&upstream), "{end:?}: the upstream");
        assert_eq!(rest(&client).unwrap().len(), 20_000, "{end:?}: the client");
    }
}

#[test]
fn an_upstream_that_has_the_whole_upload_keeps_it_and_the_client_sees_a_reset() {
    for end in ENDS {
        let setup = setup(end);
        let (mut client, upstream) = setup.pair();
        client.write_all(&[7; 20_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        has_the_end(&upstream);
        let _successor = setup.end(end);
        assert!(is_reset(&client), "{end:?}: the client");
        assert_eq!(
            rest(&upstream).unwrap().len(),
            20_000,
            "{end:?}: the upstream"
        );
    }
}

#[test]
fn what_a_slow_client_has_yet_to_read_outlives_a_proxy_that_has_passed_on_the_end() {
    let setup = setup(End::Killed);
    let (client, mut upstream) = setup.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"");
    // More than a client takes that does not read, and no more than the kernel takes on the way.
    upstream.write_all(&[7; 150_000]).unwrap();
    drop(upstream);
    let control = setup.directory.path().join("control");
    eventually("the proxy has closed the connection", || {
        let (status, text) = run_ctl(&control, &["status", "--json"]);
        assert_eq!(status, 0, "{text}");
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        state["open"] == 0
    });
    setup.end(End::Killed);
    assert_eq!(rest(&client).unwrap().len(), 150_000);
}
