//! Direct handover: clients are accepted by the proxy, served by the server, and counted by the
//! proxy until the server is done with them.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;
use support::*;

/// What outlives the processes: the directory, the proxy's listener, and the socket to which clients
/// are handed over.
struct Setup {
    directory: tempfile::TempDir,
    listener: TcpListener,
    queue: UnixDatagram,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = UnixDatagram::bind(directory.path().join("queue")).unwrap();
        Self {
            directory,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            queue,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn target(&self) -> String {
        format!("handover:{}", self.path("queue").display())
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn server_unit(&self) -> Unit {
        Unit::new(SERVER).socket("handover", self.queue.try_clone().unwrap())
    }

    fn server(&self) -> Running {
        self.server_unit().ready()
    }

    fn proxy_unit(&self) -> Unit {
        let directory = self.directory.path().to_str().unwrap();
        Unit::new(PROXY)
            .env("RUNTIME_DIRECTORY", directory)
            .env("STATE_DIRECTORY", directory)
            .socket("clients", self.listener.try_clone().unwrap())
            .arg("--control")
            .arg(self.path("control"))
    }

    fn proxy_with(&self, options: &[&str]) -> Running {
        let mut unit = self.proxy_unit().arg(self.target());
        for option in options {
            unit = unit.arg(option);
        }
        unit.ready()
    }

    fn proxy(&self) -> Running {
        self.proxy_with(&[])
    }

    /// One that tells nobody of its state: for a long test, in which nobody reads what it tells.
    fn quiet_proxy(&self) -> Running {
        let unit = self.proxy_unit().arg(self.target());
        let proxy = unit.env("NOTIFY_SOCKET", "").spawn();
        eventually("it answers", || self.ctl(&["status"]).0 == 0);
        proxy
    }

    fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// A client that has been answered.
    fn client(&self) -> TcpStream {
        let client = self.connect();
        assert_eq!(hello(&client), "Hello world!");
        client
    }

    fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        run_ctl(&self.path("control"), arguments)
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = self.ctl(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    fn status(&self) -> Value {
        serde_json::from_str(&self.does(&["--json", "status"])).unwrap()
    }

    #[track_caller]
    fn connections(&self) -> Vec<Value> {
        serde_json::from_str(&self.does(&["--json", "connections"])).unwrap()
    }

    fn open_becomes(&self, count: u64) {
        eventually("the proxy counts them", || self.status()["open"] == count);
    }

    /// A `lock` that waits for the drain.
    fn begin_lock(&self, arguments: &[&str]) -> Child {
        let child = ctl(&self.path("control"), &[&["lock"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock waits", || self.status()["lock"]["callers"] == 1);
        child
    }
}

fn ends_well(running: Running) -> String {
    let (status, log) = running.ends();
    assert!(status.success(), "{log}");
    log
}

fn is_reset(stream: &TcpStream) -> bool {
    matches!(rest(stream), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_client_sees_what_it_would_see_without_a_proxy() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    assert_eq!(hello(&client), "Hello world!");
    (&client).write_all(b"quit\n").unwrap();
    assert_eq!(rest(&client).unwrap(), b"");
    let mut client = setup.connect();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"Hello world!\r\n");
}

#[test]
fn a_client_is_counted_with_its_bytes_until_the_server_is_done_with_it() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let (one, status) = (&setup.connections()[0], setup.status());
    assert_eq!(one["peer"], client.local_addr().unwrap().to_string());
    assert_eq!(one["upstream"], setup.target());
    assert_eq!(
        (&one["receivedBytes"], &one["sentBytes"]),
        (&6.into(), &14.into())
    );
    assert_eq!(status["open"], 1);
    drop(client);
    setup.open_becomes(0);
    let status = setup.status();
    assert_eq!(status["accepted"], 1);
    assert_eq!(
        (&status["receivedBytes"], &status["sentBytes"]),
        (&6.into(), &14.into())
    );
    assert!(setup.connections().is_empty());
}

#[test]
fn a_lock_waits_for_those_who_were_handed_over_and_lets_nobody_else_in() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let mut lock = setup.begin_lock(&[]);
    let waiting = setup.connect();
    assert_eq!(hello(&client), "Hello world!");
    assert_eq!(setup.status()["gate"], "draining");
    assert!(lock.try_wait().unwrap().is_none());
    drop(client);
    assert!(lock.wait().unwrap().success());
    let status = setup.status();
    assert_eq!(
        (&status["gate"], &status["queued"]),
        (&"locked".into(), &1.into())
    );
    setup.does(&["unlock"]);
    assert_eq!(hello(&waiting), "Hello world!");
}

#[test]
fn when_the_proxy_is_killed_its_connections_go_on_and_the_next_one_waits_for_their_end() {
    let setup = Setup::new();
    let (_server, mut proxy) = (setup.server(), setup.proxy());
    let clients = [setup.client(), setup.client(), setup.client()];
    proxy.signal(libc::SIGKILL);
    eventually("it is gone", || !proxy.is_running());
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["open"], 3);
    let newer = setup.client();
    let listed = setup.connections();
    let before = |one: &&Value| one["upstream"] == "handed over by an earlier process";
    assert_eq!((listed.len(), listed.iter().filter(before).count()), (4, 3));
    let (status, text) = setup.ctl(&["close", "0"]);
    assert!(status != 0 && text.contains("earlier process"), "{text}");

    let mut lock = setup.begin_lock(&[]);
    drop(newer);
    for (left, client) in clients.into_iter().rev().enumerate().rev() {
        assert!(lock.try_wait().unwrap().is_none());
        assert_eq!(hello(&client), "Hello world!");
        drop(client);
        setup.open_becomes(left as u64);
    }
    assert!(lock.wait().unwrap().success());
}

#[test]
fn a_lock_that_the_proxy_was_killed_in_goes_on_with_those_who_are_still_there() {
    let setup = Setup::new();
    let (_server, mut proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    let lock = ctl(&setup.path("control"), &["lock"])
        .stdout(Stdio::null())
        .spawn();
    eventually("the lock waits", || setup.status()["gate"] == "draining");
    proxy.signal(libc::SIGKILL);
    eventually("it is gone", || !proxy.is_running());
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["gate"], "draining");
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    assert!(lock.unwrap().wait().unwrap().success());
    assert_eq!(setup.status()["gate"], "locked");
}

#[test]
fn when_the_server_is_killed_those_it_served_see_the_end_at_once() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    server.signal(libc::SIGKILL);
    assert_eq!(rest(&client).unwrap(), b"");
    setup.open_becomes(0);
    // What nobody has read makes the end a reset, as ever.
    let server = setup.server();
    let mut client = setup.client();
    server.signal(libc::SIGSTOP);
    client.write_all(b"hello\n").unwrap();
    server.signal(libc::SIGKILL);
    assert!(is_reset(&client));
    setup.open_becomes(0);
}

#[test]
fn when_the_server_is_killed_those_it_has_not_begun_to_serve_go_to_the_next_one() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let silent: Vec<TcpStream> = (0..5).map(|_| setup.connect()).collect();
    setup.open_becomes(5);
    server.signal(libc::SIGKILL);
    let _server = setup.server();
    for client in &silent {
        assert_eq!(hello(client), "Hello world!");
    }
    assert_eq!(setup.status()["unreachable"], 0);
}

#[test]
fn clients_that_come_while_no_server_runs_are_served_by_the_next_one() {
    let setup = Setup::new();
    let _proxy = setup.proxy();
    // More than can wait in the socket's own queue (net.unix.max_dgram_qlen).
    let clients: Vec<TcpStream> = (0..1000).map(|_| setup.connect()).collect();
    setup.open_becomes(1000);
    let _server = setup.server();
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
}

#[test]
fn a_server_that_comes_and_goes_all_the_time_loses_nobody() {
    let setup = Setup::new();
    let _proxy = setup.quiet_proxy();
    for _ in 0..30 {
        let client = setup.connect();
        // A server that finds nobody ends at once, and nobody starts it again here.
        setup.open_becomes(1);
        let unit = setup.server_unit().arg("--exit-idle-time=0");
        let server = unit.spawn();
        assert_eq!(hello(&client), "Hello world!");
        drop(client);
        ends_well(server);
        setup.open_becomes(0);
    }
}

#[test]
fn a_client_that_gave_up_while_no_server_ran_is_not_waited_for() {
    let setup = Setup::new();
    let _proxy = setup.proxy();
    let clients: Vec<TcpStream> = (0..100).map(|_| setup.connect()).collect();
    setup.open_becomes(100);
    clients.into_iter().for_each(reset);
    // But for those that wait in the socket's queue: nobody looks at them there.
    eventually("they are gone", || {
        setup.status()["open"].as_u64().unwrap() < 50
    });
    let _server = setup.server();
    setup.open_becomes(0);
}

#[test]
fn a_server_without_descriptors_lets_clients_wait() {
    let setup = Setup::new();
    let mut server = setup.server();
    let _proxy = setup.proxy();
    let limit = libc::rlimit {
        rlim_cur: 24,
        rlim_max: 24,
    };
    // SAFETY: prlimit(2) reads one struct and writes none.
    let result = unsafe {
        libc::prlimit(
            server.pid(),
            libc::RLIMIT_NOFILE,
            &limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    let silent: Vec<TcpStream> = (0..30).map(|_| setup.connect()).collect();
    server.until_logged("cannot accept");
    let clients: Vec<TcpStream> = (0..60).map(|_| setup.connect()).collect();
    for mut client in &clients {
        client.write_all(b"hello\nquit\n").unwrap();
    }
    drop(silent);
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"Hello world!\r\n");
    }
    assert!(server.is_running());
    setup.open_becomes(0);
}

#[test]
fn what_is_no_client_is_not_served_and_disturbs_nobody() {
    use std::os::fd::AsFd;
    let setup = Setup::new();
    let mut server = setup.server();
    let _proxy = setup.proxy();
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.connect(setup.path("queue")).unwrap();
    let (file, _other) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (pair, mut its_end) = UnixStream::pair().unwrap();
    let listening = setup.listener.as_fd();
    for (bytes, descriptors) in [
        (&b"client/1"[..], vec![]),
        (b"", vec![]),
        (b"client/1", vec![pair.as_fd()]),
        (b"client/1", vec![pair.as_fd(); 3]),
        (b"client/1", vec![null.as_fd(), null.as_fd()]),
        (b"client/1", vec![file.as_fd(), null.as_fd()]),
        (b"client/1", vec![listening, null.as_fd()]),
        (b"client/1", vec![stranger.as_fd(), null.as_fd()]),
        (b"garbage", vec![pair.as_fd(); 2]),
        (&[0xff; 100_000], vec![pair.as_fd(); 200]),
    ] {
        send_raw(&stranger, bytes, &descriptors);
    }
    drop(pair);
    server.until_logged("no client");
    assert_eq!(hello(&setup.client()), "Hello world!");
    assert_eq!(its_end.read(&mut [0]).unwrap(), 0, "nobody has kept it");
    assert!(server.is_running());
}

/// Waits for room.
fn send_raw(socket: &UnixDatagram, bytes: &[u8], descriptors: &[std::os::fd::BorrowedFd<'_>]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let pieces = [std::io::IoSlice::new(bytes)];
    sendmsg(socket, &pieces, &mut ancillary, SendFlags::empty()).unwrap();
}

#[test]
fn a_connection_can_be_closed_forced_and_timed_out_although_the_server_has_it() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.proxy_with(&["--idle-timeout=1s"]));
    let client = setup.client();
    let id = setup.connections()[0]["id"].to_string();
    setup.does(&["close", &id]);
    assert!(is_reset(&client));
    setup.open_becomes(0);

    let client = setup.client();
    setup.does(&["lock", "--force-after=0"]);
    assert!(is_reset(&client));
    setup.does(&["unlock"]);

    let idle = setup.client();
    let busy = setup.client();
    let ended = std::thread::spawn(move || is_reset(&idle));
    while !ended.is_finished() {
        assert_eq!(hello(&busy), "Hello world!");
        std::thread::yield_now();
    }
    assert!(ended.join().unwrap());
    assert_eq!(hello(&busy), "Hello world!");
}

#[test]
fn a_server_that_hangs_does_not_hold_up_a_lock_that_forces() {
    let setup = Setup::new();
    let (server, _proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    server.signal(libc::SIGSTOP);
    setup.does(&["lock", "--force-after=0"]);
    assert!(is_reset(&client));
    assert_eq!(setup.status()["gate"], "locked");
    setup.does(&["unlock"]);
    server.signal(libc::SIGCONT);
    assert_eq!(hello(&setup.client()), "Hello world!");
}

#[test]
fn a_proxy_that_is_told_to_stop_goes_at_once_and_its_connections_stay() {
    let setup = Setup::new();
    let (_server, proxy) = (setup.server(), setup.proxy());
    let client = setup.client();
    proxy.signal(libc::SIGTERM);
    ends_well(proxy);
    assert_eq!(hello(&client), "Hello world!");
    let _proxy = setup.proxy();
    assert_eq!(setup.status()["open"], 1);
    drop(client);
    setup.open_becomes(0);
}

#[test]
fn a_proxy_is_not_idle_while_one_that_it_handed_over_is_open() {
    let setup = Setup::new();
    let _server = setup.server();
    let client = setup.connect();
    let mut proxy = setup.proxy_with(&["--exit-idle-time=0"]);
    assert_eq!(hello(&client), "Hello world!");
    assert_eq!(setup.status()["open"], 1);
    assert!(proxy.is_running());
    drop(client);
    ends_well(proxy);
}

#[test]
fn without_a_place_for_the_tokens_clients_are_handed_over_all_the_same() {
    let setup = Setup::new();
    let _server = setup.server();
    let mut unit = Unit::new(PROXY)
        .socket("clients", setup.listener.try_clone().unwrap())
        .arg(setup.target());
    unit = unit.env("RUNTIME_DIRECTORY", "").arg("--exit-idle-time=0");
    let client = setup.connect();
    let proxy = unit.spawn();
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    ends_well(proxy);
}

#[test]
fn a_successor_counts_those_that_its_predecessor_handed_over_once() {
    let setup = Setup::new();
    let _server = setup.server();
    let address = free_address();
    let unit = || {
        let directory = setup.directory.path().to_str().unwrap();
        Unit::new(PROXY)
            .env("RUNTIME_DIRECTORY", directory)
            .arg("--control")
            .arg(setup.path("control"))
            .arg("--take-over")
            .arg("--listen")
            .arg(address.to_string())
            .arg(setup.target())
    };
    let old = unit().ready();
    let clients = [connect(address), connect(address)];
    for client in &clients {
        assert_eq!(hello(client), "Hello world!");
    }
    let _new = unit().ready();
    ends_well(old);
    let newer = connect(address);
    assert_eq!(hello(&newer), "Hello world!");
    setup.open_becomes(3);
    let mut lock = setup.begin_lock(&[]);
    for client in clients {
        assert_eq!(hello(&client), "Hello world!");
        assert!(lock.try_wait().unwrap().is_none());
    }
    drop(newer);
    assert!(lock.wait().unwrap().success());
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn the_target_can_change_between_the_kinds_and_those_who_wait_follow() {
    let setup = Setup::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let ordinary = upstream.local_addr().unwrap().to_string();
    let nobody = format!("handover:{}", setup.path("nobody").display());
    let _proxy = setup.proxy_unit().ready();
    // Those who wait for a handover are relayed when the target says so, ...
    setup.does(&["set-target", &nobody]);
    let client = setup.connect();
    setup.open_becomes(1);
    setup.does(&["set-target", &ordinary]);
    upstream.accept().unwrap().0.write_all(b"relayed").unwrap();
    assert_eq!(rest(&client).unwrap(), b"relayed");
    drop(client);
    // ... and those who wait for an upstream are handed over.
    drop(upstream);
    let client = setup.connect();
    setup.open_becomes(1);
    setup.does(&["set-target", &setup.target()]);
    let _server = setup.server();
    assert_eq!(hello(&client), "Hello world!");
    setup.does(&["set-target", "unix:/nonexistent"]);
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    setup.does(&["switch", &setup.target()]);
    assert_eq!(hello(&setup.client()), "Hello world!");
}

#[test]
fn a_target_that_nobody_receives_at_is_given_up_after_the_connect_timeout() {
    let setup = Setup::new();
    let nobody = format!("handover:{}", setup.path("nobody").display());
    let unit = setup.proxy_unit().arg(nobody);
    let mut proxy = unit.arg("--connect-timeout=100ms").ready();
    assert!(is_reset(&setup.connect()));
    proxy.until_logged("cannot reach handover:");
    setup.open_becomes(0);
    assert_eq!(setup.status()["unreachable"], 1);
    // And one at which nobody takes what comes.
    drop(proxy);
    let _proxy = setup.proxy_with(&["--connect-timeout=500ms"]);
    let clients: Vec<TcpStream> = (0..50).map(|_| setup.connect()).collect();
    eventually("those without a place in the queue are given up", || {
        setup.status()["unreachable"].as_u64().unwrap() >= 30
    });
    drop(clients);
}

#[test]
fn one_that_only_ever_hangs_up_is_not_handed_a_client_for_ever() {
    let setup = Setup::new();
    let _proxy = setup.proxy_with(&["--connect-timeout=300ms"]);
    let queue = setup.queue.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        // The descriptors are closed by the kernel: there is no room for them.
        while queue.recv(&mut byte).is_ok() {}
    });
    assert!(is_reset(&setup.connect()));
    setup.open_becomes(0);
    assert_eq!(setup.status()["unreachable"], 1);
}

#[test]
fn a_server_that_has_its_socket_itself_can_be_killed_with_clients_waiting() {
    let setup = Setup::new();
    let path = setup.path("own");
    let server = || Unit::new(SERVER).arg("--handover").arg(&path).ready();
    let old = server();
    let unit = setup.proxy_unit();
    let _proxy = unit.arg(format!("handover:{}", path.display())).ready();
    let served = setup.client();
    old.signal(libc::SIGSTOP);
    // Some in the queue of its socket, and some for whom it has no room.
    let waiting: Vec<TcpStream> = (0..40).map(|_| setup.connect()).collect();
    setup.open_becomes(41);
    old.signal(libc::SIGKILL);
    assert_eq!(rest(&served).unwrap(), b"");
    drop(old);
    let new = server();
    for client in &waiting {
        assert_eq!(hello(client), "Hello world!");
    }
    new.signal(libc::SIGTERM);
    drop(waiting);
    ends_well(new);
    assert!(!path.exists());
}

#[test]
fn an_af_unix_client_is_handed_over_too() {
    let setup = Setup::new();
    let _server = setup.server();
    let front = setup.path("front");
    let _proxy = Unit::new(PROXY)
        .socket("clients", UnixListener::bind(&front).unwrap())
        .arg("--control")
        .arg(setup.path("control"))
        .arg(setup.target())
        .ready();
    let mut client = UnixStream::connect(&front).unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Hello world!\r\n");
    setup.open_becomes(0);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let setup = Setup::new();
    let (status, log) = setup
        .proxy_unit()
        .arg(setup.target())
        .arg("--proxy-protocol=v2")
        .fails();
    assert!(
        !status.success() && log.contains("--proxy-protocol"),
        "{log}"
    );
    let (status, log) = Unit::new(PROXY).arg("--listen").arg(setup.target()).fails();
    assert!(!status.success() && log.contains("handed over"), "{log}");
    let proxy = setup.proxy_unit().arg("--proxy-protocol=v2").ready();
    for verb in ["set-target", "switch"] {
        let (status, text) = setup.ctl(&[verb, &setup.target()]);
        assert!(status != 0 && text.contains("--proxy-protocol"), "{text}");
    }
    drop(proxy);
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, log) = Unit::new(SERVER).socket("handover", stream).fails();
    assert!(
        !status.success() && log.contains("ListenDatagram="),
        "{log}"
    );
}

#[test]
fn many_clients_at_a_time_are_all_served_and_all_counted() {
    let setup = Setup::new();
    let (_server, _proxy) = (setup.server(), setup.quiet_proxy());
    let address = setup.address();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..250 {
                    let client = connect(address);
                    assert_eq!(hello(&client), "Hello world!");
                    (&client).write_all(b"quit\n").unwrap();
                    assert_eq!(rest(&client).unwrap(), b"");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    setup.open_becomes(0);
    let status = setup.status();
    assert_eq!(status["accepted"], 2000);
    assert_eq!(status["receivedBytes"], 2000 * 11);
    assert_eq!(status["sentBytes"], 2000 * 14);
    assert!(names(&setup.path("handed-over")) < 200);
}

fn names(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}
