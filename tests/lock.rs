//! Lock, drain, queue, unlock: the promise that the proxy exists for, with the real control tool.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use support::*;

/// A proxy under a systemd that is played here: its sockets outlive it.
struct Setup {
    directory: tempfile::TempDir,
    listener: TcpListener,
    control: UnixListener,
    upstream: TcpListener,
    options: Vec<String>,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(directory.path().join("control")).unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = vec![upstream.local_addr().unwrap().to_string()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            directory,
            listener,
            control,
            upstream,
            options,
        }
    }

    /// Without a target on the command line: it is state.
    fn without_target() -> Self {
        Self {
            options: Vec::new(),
            ..Self::new()
        }
    }

    fn start(&self) -> Running {
        self.start_with(&[])
    }

    fn start_with(&self, options: &[&str]) -> Running {
        let mut unit = Unit::new(PROXY)
            .socket("clients", self.listener.try_clone().unwrap())
            .socket("varlink", self.control.try_clone().unwrap())
            .env("RUNTIME_DIRECTORY", self.directory.path().to_str().unwrap())
            .env("STATE_DIRECTORY", self.directory.path().to_str().unwrap());
        for option in self
            .options
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
        {
            unit = unit.arg(option);
        }
        unit.ready()
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn target(&self) -> String {
        self.upstream.local_addr().unwrap().to_string()
    }

    /// A client that has passed, and the upstream's side of its connection.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.address());
        let (upstream, _) = self.upstream.accept().unwrap();
        (client, upstream)
    }

    fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        run_ctl(&self.control(), arguments)
    }

    /// Runs a verb that has to succeed; what it printed.
    fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = self.ctl(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.does(&["--json", "status"])).unwrap()
    }

    fn gate(&self) -> String {
        self.status()["gate"].as_str().unwrap().to_owned()
    }

    /// A `lock` that waits for the drain.
    fn begin_lock(&self, arguments: &[&str]) -> Child {
        let callers = |setup: &Self| setup.status()["lock"]["callers"].as_u64().unwrap_or(0);
        let before = callers(self);
        let child = ctl(&self.control(), &[&["lock"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock waits", || callers(self) > before);
        child
    }
}

fn serve_one(upstream: &TcpListener, answer: &[u8]) {
    upstream.accept().unwrap().0.write_all(answer).unwrap();
}

#[test]
fn a_client_that_arrives_during_the_drain_is_served_after_unlock() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (held, held_upstream) = setup.pair();
    let mut lock = setup.begin_lock(&[]);
    assert_eq!(setup.gate(), "draining");
    let waiting = connect(setup.address());
    drop((held, held_upstream));
    assert!(lock.wait().unwrap().success());
    let status = setup.status();
    assert_eq!(
        (&status["gate"], &status["open"]),
        (&"locked".into(), &0.into())
    );
    assert_eq!(status["queued"], 1);
    setup.does(&["unlock"]);
    serve_one(&setup.upstream, b"new version");
    assert_eq!(rest(&waiting).unwrap(), b"new version");
}

#[test]
fn those_who_wait_are_let_in_in_the_order_in_which_they_came() {
    let setup = Setup::new();
    let _proxy = setup.start();
    setup.does(&["lock"]);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(setup.address())).collect();
    setup.does(&["unlock"]);
    // They are served at the same time by several threads; their numbers tell who was first.
    let upstreams: Vec<_> = clients.iter().map(|_| setup.upstream.accept()).collect();
    let list = setup.does(&["--json", "connections"]);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let mut let_in: Vec<(u64, String)> = list
        .iter()
        .map(|one| {
            let peer = one["peer"].as_str().unwrap().to_owned();
            (one["id"].as_u64().unwrap(), peer)
        })
        .collect();
    let_in.sort();
    let came: Vec<String> = clients
        .iter()
        .map(|client| client.local_addr().unwrap().to_string())
        .collect();
    let order: Vec<String> = let_in.into_iter().map(|(_, peer)| peer).collect();
    assert_eq!(order, came);
    drop(upstreams);
}

#[test]
fn a_lock_survives_kill_9_a_restart_and_an_idle_exit() {
    let setup = Setup::new();
    let proxy = setup.start();
    setup.does(&["lock", "--reason", "upgrade"]);
    proxy.signal(libc::SIGKILL);
    assert!(!proxy.ends().0.success());
    let proxy = setup.start();
    assert_eq!(setup.status()["lock"]["reason"], "upgrade");
    proxy.signal(libc::SIGTERM);
    assert!(proxy.ends().0.success());
    let (status, log) = setup.start_with(&["--exit-idle-time=0"]).ends();
    assert!(
        status.success() && log.contains("nobody has used it"),
        "{log}"
    );
    let mut proxy = setup.start();
    assert_eq!(setup.gate(), "locked");
    let client = connect(setup.address());
    setup.does(&["unlock"]);
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
    assert!(proxy.is_running());
}

#[test]
fn a_proxy_that_is_locked_does_not_end_while_clients_wait() {
    let setup = Setup::new();
    let proxy = setup.start();
    setup.does(&["lock"]);
    proxy.signal(libc::SIGTERM);
    assert!(proxy.ends().0.success());
    let client = connect(setup.address());
    let mut proxy = setup.start_with(&["--exit-idle-time=10ms"]);
    // The idle time passes many times; the only event that could end the wait would be the end.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(proxy.is_running());
    setup.does(&["unlock"]);
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
}

#[test]
fn a_lock_whose_caller_dies_is_taken_back_but_not_while_another_waits() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let held = setup.pair();
    let mut first = setup.begin_lock(&[]);
    let mut second = setup.begin_lock(&[]);
    first.kill().unwrap();
    first.wait().unwrap();
    eventually("it has gone", || setup.status()["lock"]["callers"] == 1);
    assert_eq!(setup.gate(), "draining");
    second.kill().unwrap();
    second.wait().unwrap();
    eventually("the gate opens", || setup.gate() == "open");
    drop(held);
}

#[test]
fn two_deployers_that_wait_for_the_same_drain_both_get_their_answer() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let held = setup.pair();
    let mut first = setup.begin_lock(&[]);
    let mut second = setup.begin_lock(&[]);
    drop(held);
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(setup.gate(), "locked");
}

#[test]
fn a_lock_that_is_asked_for_twice_succeeds_twice_and_so_does_an_unlock() {
    let setup = Setup::new();
    let _proxy = setup.start();
    setup.does(&["lock"]);
    setup.does(&["lock"]);
    setup.does(&["unlock"]);
    setup.does(&["unlock"]);
    assert_eq!(setup.gate(), "open");
}

#[test]
fn a_drain_that_takes_too_long_opens_the_gate_again_and_exits_with_3() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let _held = setup.pair();
    let (status, text) = setup.ctl(&["lock", "--timeout", "100ms"]);
    assert_eq!(status, 3, "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn a_drain_that_nobody_leaves_any_more_opens_the_gate_again_and_exits_with_3() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    let (status, text) = setup.ctl(&["lock", "--progress-timeout", "300ms"]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("1 connection still open"), "{text}");
    assert_eq!(setup.gate(), "open");
    drop(client);
}

#[test]
fn a_lease_that_runs_out_opens_the_gate_with_a_warning() {
    let setup = Setup::new();
    let mut proxy = setup.start();
    setup.does(&["lock", "--lease", "200ms"]);
    let client = connect(setup.address());
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
    assert!(proxy.until_logged("lease").contains("WARN"));
}

#[test]
fn whoever_blocks_the_drain_can_be_seen_and_sent_away() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    let mut lock = setup.begin_lock(&[]);
    let list = setup.does(&["--json", "connections"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["peer"], client.local_addr().unwrap().to_string());
    setup.does(&["close", &list[0]["id"].to_string()]);
    assert!(rest(&client).is_err());
    assert!(lock.wait().unwrap().success());
}

#[test]
fn a_peer_that_is_connected_and_waits_in_the_queue_is_told() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, upstream) = setup.pair();
    let lock = ctl(&setup.control(), &["lock"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut lock = lock.unwrap();
    eventually("the gate drains", || setup.gate() == "draining");
    assert!(!setup.ctl(&["status"]).1.contains("still connected"));
    // It came from the address that the first one has.
    let second = connect(setup.address());
    let (_, text) = setup.ctl(&["status"]);
    let words = "Queued: 1, 1 of them from addresses that are still connected";
    assert!(text.contains(words), "{text}");
    // Whoever waits in a log is told too.
    let words = "1 client waits in the queue from addresses that are still connected";
    let mut said = String::new();
    let mut log = std::io::BufReader::new(lock.stderr.take().unwrap());
    while !said.contains(words) {
        assert_ne!(
            std::io::BufRead::read_line(&mut log, &mut said).unwrap(),
            0,
            "{said}"
        );
    }
    drop((client, upstream, second));
    assert!(lock.wait().unwrap().success());
}

#[test]
fn force_after_resets_what_is_still_open() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, _upstream) = setup.pair();
    setup.does(&["lock", "--force-after", "100ms"]);
    assert!(rest(&client).is_err());
    assert_eq!(setup.gate(), "locked");
}

#[test]
fn a_command_runs_while_the_proxy_is_locked_and_gives_its_exit_status() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let script = format!("'{CTL}' --json status | grep -q '\"locked\"' && exit 42");
    let (status, text) = setup.ctl(&["lock", "--", "sh", "-c", &script]);
    assert_eq!(status, 42, "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn without_a_target_clients_wait_until_there_is_one_and_it_is_kept() {
    let setup = Setup::without_target();
    let proxy = setup.start();
    let client = connect(setup.address());
    assert_eq!(setup.status()["target"], serde_json::Value::Null);
    setup.does(&["set-target", &setup.target()]);
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
    proxy.signal(libc::SIGKILL);
    proxy.ends();
    let _proxy = setup.start();
    assert_eq!(setup.status()["target"], setup.target());
    let (status, text) = setup.ctl(&["set-target", "nowhere"]);
    assert_eq!(status, 2);
    assert!(text.contains("port is missing"), "{text}");
}

#[test]
fn a_target_of_the_command_line_cannot_be_changed() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (status, text) = setup.ctl(&["set-target", "localhost:1"]);
    assert_eq!(status, 1);
    assert!(text.contains(&setup.target()), "{text}");
    setup.does(&["set-target", &setup.target()]);
}

#[test]
fn switch_drains_before_it_leads_elsewhere() {
    let setup = Setup::without_target();
    let _proxy = setup.start();
    setup.does(&["set-target", &setup.target()]);
    let (held, held_upstream) = setup.pair();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = elsewhere.local_addr().unwrap().to_string();
    let mut switch = ctl(&setup.control(), &["switch", "--untested", &there])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it drains", || setup.gate() == "draining");
    let waiting = connect(setup.address());
    assert_eq!(setup.status()["target"], setup.target());
    drop((held, held_upstream));
    assert!(switch.wait().unwrap().success());
    serve_one(&elsewhere, b"elsewhere");
    assert_eq!(rest(&waiting).unwrap(), b"elsewhere");
}

#[test]
fn sighup_has_the_target_read_again() {
    let setup = Setup::without_target();
    let mut proxy = setup.start();
    std::fs::write(setup.directory.path().join("target"), setup.target()).unwrap();
    proxy.signal(libc::SIGHUP);
    let message = proxy.until(|message| message.contains("RELOADING=1"));
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    proxy.until(|message| message.contains("READY=1") && message.contains(&setup.target()));
}

#[test]
fn a_lock_that_cannot_be_written_is_refused_and_the_gate_stays_open() {
    let setup = Setup::new();
    let _proxy = setup.start();
    // A directory in the place of the temporary file: it cannot be created.
    std::fs::create_dir(setup.directory.path().join("lock.new")).unwrap();
    let (status, text) = setup.ctl(&["lock"]);
    assert_eq!(status, 1);
    assert!(text.contains("lock"), "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn callers_that_wait_leave_room_for_calls_that_do_not() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (_client, _upstream) = setup.pair();
    let method = "io.github.disnix-proxy-example.Proxy.";
    let calls = ["Lock", "Monitor", "Switch"].map(|name| {
        let target = if name == "Switch" {
            "{\"target\":\"[::1]:1\"}"
        } else {
            "{}"
        };
        format!("{{\"method\":\"{method}{name}\",\"parameters\":{target},\"more\":true}}\0")
    });
    let waiting: Vec<UnixStream> = calls
        .iter()
        .cycle()
        .take(300)
        .map(|call| {
            let mut caller = UnixStream::connect(setup.control()).unwrap();
            caller.write_all(call.as_bytes()).unwrap();
            // It has its first reply, or a refusal.
            let mut first = [0];
            std::io::Read::read_exact(&mut caller, &mut first).unwrap();
            caller
        })
        .collect();
    let (status, text) = setup.ctl(&["lock", "--timeout", "1s"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("64 calls that wait"), "{text}");
    assert_eq!(setup.gate(), "draining");
    setup.does(&["close", "1"]);
    setup.does(&["unlock"]);
    drop(waiting);
    setup.does(&["lock"]);
}

#[test]
fn callers_that_say_nothing_keep_nobody_out() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let silent: Vec<UnixStream> = (0..1000)
        .map(|_| UnixStream::connect(setup.control()).unwrap())
        .collect();
    setup.does(&["lock"]);
    setup.does(&["unlock"]);
    drop(silent);
}

#[test]
fn hostile_callers_disturb_neither_clients_nor_other_callers() {
    let setup = Setup::new();
    let mut proxy = setup.start();
    let control = setup.control();
    let mut callers = Vec::new();
    for number in 0..400 {
        let mut caller = UnixStream::connect(&control).unwrap();
        let _ = match number % 4 {
            0 => Ok(()),
            1 => caller.write_all(b"garbage\0"),
            2 => caller.write_all(b"{\"method\":\"io.github.disnix-proxy-example.Proxy.GetSta"),
            _ => caller.write_all(b"\0\0\0\xff\0"),
        };
        callers.push(caller);
    }
    // One call without an end: it is refused long before it has been sent.
    let mut endless = UnixStream::connect(&control).unwrap();
    let piece = vec![b' '; 1 << 20];
    assert!((0..100).any(|_| endless.write_all(&piece).is_err()));
    // One that asks all the time and never reads.
    let mut deaf = UnixStream::connect(&control).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"io.github.disnix-proxy-example.Proxy.GetStatus\"}\0";
    while deaf.write_all(call).is_ok() {}

    assert_eq!(setup.gate(), "open");
    let (client, mut upstream) = setup.pair();
    upstream.write_all(b"served").unwrap();
    drop(upstream);
    assert_eq!(rest(&client).unwrap(), b"served");
    assert!(proxy.is_running());
}
