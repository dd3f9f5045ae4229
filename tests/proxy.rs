//! The proxy's data path: what passes, what waits, and how things end.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

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
    /// A client and the upstream's side of its connection.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.address);
        let (upstream, _) = self.upstream.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, upstream)
    }
}

/// Bytes that are nowhere the same.
fn pattern(length: usize) -> Vec<u8> {
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

fn is_reset(result: &std::io::Result<Vec<u8>>) -> bool {
    matches!(result, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn bytes_pass_unchanged_in_both_directions_at_once() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    let bytes = pattern(20_000_000);
    let send = |mut stream: TcpStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let up = send(client.try_clone().unwrap(), bytes.clone());
    let down = send(
        upstream.try_clone().unwrap(),
        bytes.iter().rev().copied().collect(),
    );
    let received = std::thread::spawn(move || rest(&upstream).unwrap());
    let mut answered = rest(&client).unwrap();
    answered.reverse();
    assert!(answered == bytes);
    assert!(received.join().unwrap() == bytes);
    up.join().unwrap();
    down.join().unwrap();
}

#[test]
fn a_client_that_shuts_down_its_writing_side_still_gets_the_answer() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"question");
    upstream.write_all(b"answer").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"answer");
}

#[test]
fn an_upstream_that_shuts_down_its_writing_side_still_hears_the_client() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    upstream.write_all(b"greeting").unwrap();
    upstream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"greeting");
    client.write_all(b"thanks").unwrap();
    drop(client);
    assert_eq!(rest(&upstream).unwrap(), b"thanks");
}

#[test]
fn a_reset_by_the_upstream_reaches_the_client_after_what_was_sent_before() {
    let setup = proxy_with(&[]);
    let (client, mut upstream) = setup.pair();
    let bytes = pattern(3_000_000);
    let sender = {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            upstream.write_all(&bytes).unwrap();
            // A reset throws away what the proxy has not taken yet: wait until it has.
            eventually("the proxy has taken everything", || {
                unacknowledged(&upstream) == 0
            });
            reset(upstream);
        })
    };
    let mut received = vec![0; bytes.len()];
    (&client).read_exact(&mut received).unwrap();
    assert!(received == bytes);
    sender.join().unwrap();
    assert!(is_reset(&rest(&client)));
}

#[test]
fn a_reset_by_the_client_reaches_the_upstream_after_what_was_sent_before() {
    let setup = proxy_with(&[]);
    let (mut client, mut upstream) = setup.pair();
    upstream.write_all(b"connected\n").unwrap();
    assert_eq!(line(&client), "connected");
    client.write_all(b"last words").unwrap();
    eventually("the proxy has taken it", || unacknowledged(&client) == 0);
    reset(client);
    let mut words = [0; 10];
    (&upstream).read_exact(&mut words).unwrap();
    assert_eq!(&words, b"last words");
    assert!(is_reset(&rest(&upstream)));
}

#[test]
fn a_reset_after_a_half_close_is_still_seen() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"");
    reset(client);
    // Reading has ended; the reset shows as an error of the socket.
    eventually("the upstream is told", || {
        upstream.take_error().unwrap().is_some()
    });
}

#[test]
fn a_slow_reader_holds_back_a_fast_writer_and_loses_nothing() {
    let setup = proxy_with(&[]);
    let (client, upstream) = setup.pair();
    let bytes = pattern(1_000_000);
    upstream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut full = 0;
    // Until nothing more fits anywhere between the two, for a while.
    while full < 20 {
        match (&upstream).write(&bytes[sent % bytes.len()..]) {
            Ok(count) => (sent, full) = (sent + count, 0),
            Err(_) => {
                full += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
    assert!(
        sent < 100_000_000,
        "{sent} bytes were taken for a client that does not read"
    );
    drop(upstream);
    let received = rest(&client).unwrap();
    assert_eq!(received.len(), sent);
    assert!(
        received
            .iter()
            .zip(bytes.iter().cycle())
            .all(|(a, b)| a == b)
    );
}

#[test]
fn an_upstream_that_comes_late_loses_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late");
    let mut address = None;
    let proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg(&path)
        .arg("--log-level=debug")
        .spawn();
    let client = connect(address.unwrap());
    let mut proxy = proxy;
    proxy.until_logged("is not there yet");
    let upstream = UnixListener::bind(&path).unwrap();
    let (mut upstream, _) = upstream.accept().unwrap();
    upstream.write_all(b"here").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"here");
}

/// Of the two addresses of localhost the first one is silent: a client waits there in a queue that is full, so
/// that the kernel answers nobody.
#[test]
fn a_name_whose_first_address_is_silent_is_reached_at_the_next_one() {
    use std::net::ToSocketAddrs;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let target = format!("localhost:{port}");
    let mut addresses: Vec<SocketAddr> = target.to_socket_addrs().unwrap().collect();
    addresses.dedup();
    let [silent, serving] = addresses[..] else {
        return eprintln!("not tested, localhost has other addresses here: {addresses:?}");
    };
    let domain = socket2::Domain::for_address(silent);
    let listener = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    if listener.bind(&silent.into()).is_err() {
        return eprintln!("not tested, {silent} cannot be listened on");
    }
    listener.listen(0).unwrap();
    let _waiting = connect(silent);
    let upstream = TcpListener::bind(serving).unwrap();
    let mut address = None;
    let _proxy = Unit::new(PROXY).listener(&mut address).arg(&target).ready();
    let client = connect(address.unwrap());
    upstream.accept().unwrap().0.write_all(b"here").unwrap();
    assert_eq!(rest(&client).unwrap(), b"here");
}

#[test]
fn an_upstream_that_never_comes_is_told_by_a_reset_and_in_the_log() {
    let mut address = None;
    let mut proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg("unix:/nonexistent/socket")
        .arg("--connect-timeout=50ms")
        .ready();
    let client = connect(address.unwrap());
    assert!(is_reset(&rest(&client)));
    let line = proxy.until_logged("was given up");
    assert!(
        line.contains("unix:/nonexistent/socket") && line.contains("50ms"),
        "{line}"
    );
}

#[test]
fn a_client_that_leaves_while_the_upstream_is_down_is_not_waited_for() {
    let mut address = None;
    let unit = Unit::new(PROXY)
        .listener(&mut address)
        .arg("unix:/nonexistent/socket")
        .arg("--log-level=debug")
        .arg("--exit-idle-time=0");
    let client = connect(address.unwrap());
    let mut proxy = unit.spawn();
    proxy.until_logged("is not there yet");
    reset(client);
    let (status, log) = proxy.ends();
    assert!(status.success(), "{log}");
}

#[test]
fn the_upstream_learns_who_the_client_is() {
    let setup = proxy_with(&["--proxy-protocol=v1"]);
    let (mut client, upstream) = setup.pair();
    client.write_all(b"hello\n").unwrap();
    let here = client.local_addr().unwrap();
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}",
        here.port(),
        setup.address.port()
    );
    assert_eq!(line(&upstream), expected);
    assert_eq!(line(&upstream), "hello");
}

#[test]
fn an_idle_connection_is_ended_after_the_idle_timeout_and_a_busy_one_is_not() {
    let setup = proxy_with(&["--idle-timeout=400ms"]);
    let (idle, _idle_upstream) = setup.pair();
    let (mut busy, upstream) = setup.pair();
    let ended = std::thread::spawn(move || rest(&idle));
    while !ended.is_finished() {
        busy.write_all(b"x\n").unwrap();
        assert_eq!(line(&upstream), "x");
    }
    assert!(is_reset(&ended.join().unwrap()));
    busy.write_all(b"still here\n").unwrap();
    assert_eq!(line(&upstream), "still here");
}

#[test]
fn clients_and_upstreams_can_be_af_unix() {
    let directory = tempfile::tempdir().unwrap();
    let (front, back) = (
        directory.path().join("front"),
        directory.path().join("back"),
    );
    let upstream = UnixListener::bind(&back).unwrap();
    let listener = UnixListener::bind(&front).unwrap();
    let _proxy = Unit::new(PROXY)
        .socket("clients", listener)
        .arg(&back)
        .ready();
    let mut client = std::os::unix::net::UnixStream::connect(&front).unwrap();
    let (mut upstream, _) = upstream.accept().unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut question = String::new();
    upstream.read_to_string(&mut question).unwrap();
    upstream.write_all(b"answer").unwrap();
    drop(upstream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
}

#[test]
fn when_descriptors_run_out_clients_wait_and_are_served_later() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let mut address = None;
    // Room for 8 connections at a time.
    let mut proxy = Unit::new(PROXY)
        .listener(&mut address)
        .arg(target)
        .limit_descriptors(80)
        .ready();
    let address = address.unwrap();
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(address)).collect();
    let server = std::thread::spawn(move || {
        for stream in upstream.incoming().take(40) {
            stream.unwrap().write_all(b"served").unwrap();
        }
    });
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"served");
        client.shutdown(Shutdown::Both).unwrap();
    }
    server.join().unwrap();
    assert!(proxy.is_running());
}

#[test]
fn when_descriptors_run_out_later_those_who_were_accepted_do_not_starve() {
    let setup = proxy_with(&["--connect-timeout=2s"]);
    let limit = libc::rlimit {
        rlim_cur: 40,
        rlim_max: 40,
    };
    // SAFETY: prlimit(2) reads one struct and writes none.
    let result = unsafe {
        libc::prlimit(
            setup.proxy.pid(),
            libc::RLIMIT_NOFILE,
            &limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(setup.address)).collect();
    let upstream = setup.upstream.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        for stream in upstream.incoming().take(100) {
            stream.unwrap().write_all(b"served").unwrap();
        }
    });
    for client in clients {
        assert_eq!(rest(&client).unwrap(), b"served");
    }
    server.join().unwrap();
}

#[test]
fn the_client_that_starts_the_proxy_is_probed_like_those_who_come_later() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = connect(listener.local_addr().unwrap());
    let mut setup = None;
    let _proxy = Unit::new(PROXY)
        .socket("clients", listener)
        .arg(upstream.local_addr().unwrap().to_string())
        .arg("--keepalive=10s")
        .listener(&mut setup)
        .ready();
    let _first_upstream = upstream.accept().unwrap();
    let later = connect(setup.unwrap());
    let _later_upstream = upstream.accept().unwrap();
    for client in [first, later] {
        let port = client.local_addr().unwrap().port();
        // /proc/net/tcp: the timer of a socket that is probed when idle is number 2.
        eventually("it is probed", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let remote = format!("0100007F:{port:04X} 01 ");
            let line = table.lines().find(|line| line.contains(&remote));
            line.is_some_and(|line| line.split_whitespace().nth(5).unwrap().starts_with("02:"))
        });
    }
}

#[test]
fn after_the_idle_time_it_ends_and_the_next_process_serves_the_next_client() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..50 {
        let client = connect(address);
        let socket = listener.try_clone().unwrap();
        let unit = Unit::new(PROXY).socket("clients", socket).arg(&target);
        let proxy = unit.arg("--exit-idle-time=0").spawn();
        upstream.accept().unwrap().0.write_all(b"served").unwrap();
        assert_eq!(rest(&client).unwrap(), b"served");
        drop(client);
        let (status, log) = proxy.ends();
        assert!(status.success(), "{log}");
    }
}

#[test]
fn on_sigterm_open_connections_end_by_themselves() {
    let setup = proxy_with(&[]);
    let (mut client, upstream) = setup.pair();
    let mut proxy = setup.proxy;
    proxy.signal(libc::SIGTERM);
    proxy.until(|message| message.contains("STOPPING=1"));
    client.write_all(b"one more thing\n").unwrap();
    assert_eq!(line(&upstream), "one more thing");
    drop((client, upstream));
    let (status, log) = proxy.ends();
    assert!(status.success() && log.contains("stopped"), "{log}");
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_ended_also_while_the_proxy_stops() {
    let setup = proxy_with(&["--idle-timeout=300ms", "--drain-timeout=infinity"]);
    let (client, _upstream) = setup.pair();
    let mut proxy = setup.proxy;
    proxy.signal(libc::SIGTERM);
    proxy.until(|message| message.contains("STOPPING=1"));
    assert!(is_reset(&rest(&client)));
    assert!(proxy.ends().0.success());
}

fn unacknowledged(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    assert_eq!(asked, 0);
    bytes
}
