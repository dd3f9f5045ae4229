//! The services of `examples/handover`, in C and in Python: written from the manual page, and served by the real proxy.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use crate::setup::*;
use crate::support::*;

/// The command of each service, by its language.
fn services() -> [(&'static str, Vec<PathBuf>); 2] {
    let python = vec![PathBuf::from(python()), source("service.py")];
    [("C", vec![compiled().clone()]), ("Python", python)]
}

fn source(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/handover");
    examples.join(name)
}

/// The system's, if it has one: what another one runs first might use the inherited descriptors.
fn python() -> &'static str {
    let system = "/usr/bin/python3";
    match Path::new(system).exists() {
        true => system,
        false => "python3",
    }
}

/// The service in C, compiled.
fn compiled() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Each test process makes its own, and puts it in its place as a whole.
        let new = directory.join(format!("handover-service-{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .args([&new, &source("service.c")])
            .status()
            .expect("cc cannot be run: install a C compiler (apt-get install build-essential)");
        assert!(status.success(), "service.c does not compile");
        let program = directory.join("handover-service");
        std::fs::rename(new, &program).unwrap();
        program
    })
}

fn unit(command: &[PathBuf]) -> Unit {
    let unit = Unit::new(command[0].to_str().unwrap());
    command[1..].iter().fold(unit, Unit::arg)
}

fn start(setup: &Setup, command: &[PathBuf]) -> Running {
    let queue = setup.queue.try_clone().unwrap();
    unit(command).socket("handover", queue).spawn()
}

#[track_caller]
fn ends_with(running: Running, succeeds: impl Fn(ExitStatus) -> bool) -> String {
    let (status, log) = running.ends();
    assert!(succeeds(status), "{status}: {log}");
    log
}

#[test]
fn each_service_answers_until_the_client_ends_it() {
    for (language, command) in services() {
        let setup = Setup::new();
        let (_proxy, _service) = (setup.proxy(), start(&setup, &command));
        let client = setup.client();
        (&client).write_all(b"what\nquit\n").unwrap();
        let rest = rest(&client).unwrap();
        assert_eq!(rest, b"Not understood\r\n", "{language}");
        let client = setup.connect();
        (&client).write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(crate::rest(&client).unwrap(), b"Hello world!\r\n");
        setup.open_becomes(0);
        assert_eq!(setup.status()["accepted"], 2, "{language}");
    }
}

#[test]
fn a_lock_waits_for_the_clients_of_each_service_and_holds_others_back() {
    for (language, command) in services() {
        let setup = Setup::new();
        let (_proxy, _service) = (setup.proxy(), start(&setup, &command));
        let client = setup.client();
        let mut lock = setup.begin_lock(&[]);
        let waiting = setup.connect();
        assert_eq!(hello(&client), "Hello world!", "{language}");
        assert!(lock.try_wait().unwrap().is_none(), "{language}");
        drop(client);
        assert!(lock.wait().unwrap().success(), "{language}");
        assert_eq!(setup.status()["queued"], 1, "{language}");
        setup.does(&["unlock"]);
        assert_eq!(hello(&waiting), "Hello world!", "{language}");
    }
}

#[test]
fn each_service_serves_many_clients_and_each_is_counted_until_its_end() {
    const CLIENTS: u64 = 100;
    for (language, command) in services() {
        let setup = Setup::new();
        let (_proxy, _service) = (setup.quiet_proxy(&[]), start(&setup, &command));
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| setup.connect()).collect();
        for client in &clients {
            assert_eq!(hello(client), "Hello world!", "{language}");
        }
        assert_eq!(setup.status()["open"], CLIENTS, "{language}");
        clients.truncate(40);
        setup.open_becomes(40);
        for client in &clients {
            assert_eq!(hello(client), "Hello world!", "{language}");
        }
        drop(clients);
        setup.open_becomes(0);
        assert_eq!(setup.status()["accepted"], CLIENTS, "{language}");
    }
}

#[test]
fn each_service_exits_when_it_is_idle_and_the_next_client_starts_it_again() {
    for (language, command) in services() {
        let setup = Setup::new();
        let _proxy = setup.proxy();
        for _ in 0..2 {
            let client = setup.connect();
            setup.until_handed_over();
            let queue = setup.queue.try_clone().unwrap();
            let service = unit(&command).arg("1").socket("handover", queue).spawn();
            assert_eq!(hello(&client), "Hello world!", "{language}");
            drop(client);
            ends_with(service, |status| status.success());
        }
    }
}

#[test]
fn each_service_that_is_stopped_finishes_its_clients_and_leaves_new_ones_to_the_next() {
    for (language, command) in services() {
        let setup = Setup::new();
        let (_proxy, mut service) = (setup.proxy(), start(&setup, &command));
        let client = setup.client();
        service.signal(libc::SIGTERM);
        // It may have been about to receive one when the signal came.
        let later = setup.connect();
        assert_eq!(hello(&client), "Hello world!", "{language}");
        assert!(service.is_running(), "{language}");
        drop(client);
        let _next = start(&setup, &command);
        assert_eq!(hello(&later), "Hello world!", "{language}");
        drop(later);
        ends_with(service, |status| status.success());
    }
}

#[test]
fn what_is_no_client_disturbs_no_service() {
    use std::os::fd::AsFd;
    for (language, command) in services() {
        let setup = Setup::new();
        let (_proxy, _service) = (setup.proxy(), start(&setup, &command));
        let (end, token) = std::io::pipe().unwrap();
        for (bytes, count) in [
            (&b"clients/2"[..], 2),
            (b"clients/1 ", 2),
            (b"clients/1", 0),
            (b"clients/1", 3),
        ] {
            let descriptors = vec![token.as_fd(); count];
            send_to(&setup, bytes, &descriptors);
        }
        drop(token);
        let nothing = std::io::read_to_string(end).unwrap();
        assert_eq!(nothing, "", "{language}: all of them are closed");
        assert_eq!(hello(&setup.client()), "Hello world!", "{language}");
    }
}

fn send_to(setup: &Setup, bytes: &[u8], descriptors: &[std::os::fd::BorrowedFd<'_>]) {
    let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
    stranger.connect(setup.path("queue")).unwrap();
    let flags = rustix::net::SendFlags::empty();
    disnix_proxy_example::service::rights::send(&stranger, bytes, descriptors, flags).unwrap();
}

#[test]
fn a_service_without_a_socket_says_what_is_missing() {
    for (language, command) in services() {
        let (status, log) = unit(&command).fails();
        assert!(!status.success(), "{language}");
        assert!(log.contains("ListenDatagram="), "{language}: {log}");
    }
}
