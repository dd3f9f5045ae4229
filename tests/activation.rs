//! Sockets from systemd, readiness, idle exit and the end: what both daemons promise to systemd.

mod support;

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::*;

/// How long a start that fails takes at least.
const PACE: Duration = Duration::from_millis(500);

#[test]
fn a_start_that_fails_takes_its_time_where_somebody_would_start_it_again_at_once() {
    for (program, argument) in [
        (SERVER, "--nonsense"),
        (PROXY, "--nonsense"),
        (PROXY, "--take-over"),
        (PROXY, "--exit-idle-time=1s"),
    ] {
        let begun = Instant::now();
        let (status, log) = Unit::new(program).arg(argument).fails();
        assert!(!status.success(), "{log}");
        assert!(begun.elapsed() >= PACE, "{program} {argument}: {log}");
    }
}

#[test]
fn a_start_that_fails_can_be_stopped() {
    let mut program = Unit::new(PROXY).arg("--nonsense").spawn();
    program.until_logged("--nonsense");
    program.signal(libc::SIGTERM);
    let (status, _) = program.ends();
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

fn server(address: &mut Option<SocketAddr>) -> Unit {
    Unit::new(SERVER).listener(address)
}

#[test]
fn a_client_is_served_on_an_inherited_listener() {
    let mut address = None;
    let _server = server(&mut address).ready();
    assert_eq!(hello(&connect(address.unwrap())), "Hello world!");
}

#[test]
fn all_inherited_listeners_are_served_whatever_their_family() {
    let directory = tempfile::tempdir().unwrap();
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let (v4_address, v6_address) = (v4.local_addr().unwrap(), v6.local_addr().unwrap());
    let path = directory.path().join("socket");
    let abstract_name = format!("disnix-proxy-example-test-{}", std::process::id());
    let abstract_address = UnixAddress::from_abstract_name(abstract_name).unwrap();
    let _server = Unit::new(SERVER)
        .socket("v4", v4)
        .socket("v6", v6)
        .socket("path", UnixListener::bind(&path).unwrap())
        .socket(
            "abstract",
            UnixListener::bind_addr(&abstract_address).unwrap(),
        )
        .ready();
    assert_eq!(hello(&connect(v4_address)), "Hello world!");
    assert_eq!(hello(&connect(v6_address)), "Hello world!");
    for mut stream in [
        UnixStream::connect(path).unwrap(),
        UnixStream::connect_addr(&abstract_address).unwrap(),
    ] {
        stream.write_all(b"hello\nquit\n").unwrap();
        assert_eq!(std::io::read_to_string(stream).unwrap(), "Hello world!\r\n");
    }
}

#[test]
fn a_socket_of_the_wrong_kind_is_refused_with_a_sentence_that_names_it() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_name = udp.local_addr().unwrap().to_string();
    let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let connected_name = connected.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datagram");
    let unix = UnixDatagram::bind(&path).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for program in [SERVER, PROXY] {
        let refused = |socket: std::os::fd::OwnedFd, words: &[&str]| {
            let (status, log) = Unit::new(program).socket("clients", socket).fails();
            assert_eq!(status.code(), Some(1), "{log}");
            for word in words {
                assert!(log.contains(word), "{word:?} is missing: {log}");
            }
        };
        refused(
            udp.try_clone().unwrap().into(),
            &[&udp_name, "datagram", "ListenStream="],
        );
        refused(
            connected.try_clone().unwrap().into(),
            &[&connected_name, "does not listen"],
        );
        refused(unix.try_clone().unwrap().into(), &["unix:", "datagram"]);
        refused(
            file.try_clone().unwrap().into(),
            &["descriptor 3", "not a socket"],
        );
    }
}

#[test]
fn variables_that_contradict_each_other_are_an_error() {
    let (status, log) = Unit::new(SERVER).env("LISTEN_FDS", "many").fails();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("“many” is not a number"), "{log}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, log) = Unit::new(SERVER).socket("one:two", listener).fails();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("LISTEN_FDS promises 1"), "{log}");
}

/// Descriptors that the program opens itself are none that it was given.
#[test]
fn descriptors_that_are_promised_and_not_there_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Not where it is to be: a copy to its own place would be closed.
    // SAFETY: duplicates a descriptor that is open.
    let given = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
    for program in [SERVER, PROXY] {
        for (promised, given, missing) in [
            ("2", Some(given), 4),
            ("4", Some(given), 4),
            ("6", Some(given), 4),
            ("3", None, 3),
            ("2147483647", Some(given), 4),
            ("9999999999", None, 3),
            ("18446744073709551615", Some(given), 4),
        ] {
            let place = move || match given {
                // SAFETY: dup2 is a system call; it clears FD_CLOEXEC on the copy.
                Some(given) if unsafe { libc::dup2(given, 3) } < 0 => {
                    Err(io::Error::last_os_error())
                }
                _ => Ok(()),
            };
            let unit = Unit::new(program)
                .env("LISTEN_FDS", promised)
                .env_remove("NOTIFY_SOCKET");
            let (status, log) = unit.in_the_child(place).fails();
            assert_eq!(status.code(), Some(1), "{log}");
            let sentence = format!("promises {promised}, descriptor {missing} is not open");
            assert!(log.contains(&sentence), "{log}");
        }
    }
}

/// A proxy without a place to listen, started directly; its standard error.
fn nowhere(command: &mut std::process::Command) -> String {
    let output = command.arg("127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn sockets_for_another_process_are_not_taken_and_it_is_said_what_to_do() {
    let mut proxy = std::process::Command::new(PROXY);
    // The names do not fit, which is that one's affair.
    proxy.envs([
        ("LISTEN_PID", "1"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "a:b"),
    ]);
    let log = nowhere(&mut proxy);
    assert!(
        log.contains("meant for process 1 ") && log.contains("“exec”"),
        "{log}"
    );
}

#[test]
fn a_process_that_is_none_is_named_as_it_was_written() {
    for process in ["", "abc", "0"] {
        let mut proxy = std::process::Command::new(PROXY);
        proxy.envs([("LISTEN_PID", process), ("LISTEN_FDS", "1")]);
        let log = nowhere(&mut proxy);
        assert!(log.contains(&format!("LISTEN_PID is “{process}”")), "{log}");
        assert!(!log.contains("process 0"), "{log}");
    }
}

#[test]
fn what_is_no_socket_is_not_waited_for_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for (option, at, found) in [
        ("--listen", path(&file), "a file"),
        ("--handover", path(&file), "a file"),
        ("--listen", path(directory.path()), "a directory"),
    ] {
        let server = Unit::new(SERVER).arg("--bind-timeout=infinity");
        let (status, log) = server.arg(option).arg(at).fails();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("there is {found}, and no")), "{log}");
    }
    for (at, found) in [(path(&file), "a file"), ("/".to_owned(), "a directory")] {
        let proxy = Unit::new(PROXY)
            .arg("--listen=127.0.0.1:0")
            .arg("--bind-timeout=infinity");
        let (status, log) = proxy.arg("--control").arg(at).fails();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("there is {found}, and no")), "{log}");
    }
    assert!(file.exists());
}

#[test]
fn a_socket_that_is_standard_input_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy = std::process::Command::new(PROXY);
    proxy.stdin(std::os::fd::OwnedFd::from(listener));
    let log = nowhere(&mut proxy);
    assert!(
        log.contains("leave StandardInput=socket out of the unit"),
        "{log}"
    );
}

#[test]
fn without_systemd_it_listens_where_it_is_told() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut server = Unit::new(SERVER)
        .arg("--listen")
        .arg(free.to_string())
        .ready();
    assert_eq!(hello(&connect(free)), "Hello world!");
    let (status, log) = Unit::new(SERVER)
        .arg("--listen")
        .arg(free.to_string())
        .fails();
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains(&free.to_string()) && log.contains("in use"),
        "{log}"
    );
    assert!(server.is_running());
}

#[test]
fn a_socket_file_that_a_killed_program_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let _server = Unit::new(SERVER).arg("--listen").arg(&path).ready();
    UnixStream::connect(&path).unwrap();
    let (status, log) = Unit::new(SERVER).arg("--listen").arg(&path).fails();
    assert_eq!(
        status.code(),
        Some(1),
        "one that is in use is left alone: {log}"
    );
}

#[test]
fn after_the_idle_time_it_ends_with_success_and_says_why() {
    let mut address = None;
    let mut server = server(&mut address).arg("--exit-idle-time=100ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    drop(client);
    server.until(|message| message.contains("STOPPING=1"));
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("nobody has used it"), "{log}");
}

#[test]
fn a_client_that_is_connected_keeps_it_alive() {
    let mut address = None;
    let mut server = server(&mut address).arg("--exit-idle-time=50ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    // The idle time passes several times; the only event that could end the wait would be the end.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(server.is_running());
    assert_eq!(hello(&client), "Hello world!");
}

#[test]
fn a_listener_of_its_own_would_be_lost_so_it_stays() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut server = Unit::new(SERVER)
        .arg("--exit-idle-time=0")
        .arg("--listen")
        .arg(free.to_string())
        .ready();
    assert_eq!(hello(&connect(free)), "Hello world!");
    assert_eq!(hello(&connect(free)), "Hello world!");
    assert!(server.is_running());
}

#[test]
fn with_an_idle_time_of_zero_no_client_is_lost_over_many_starts() {
    const STARTS: usize = 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let starts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&starts);
    // How often it ends before the next client is there depends on what else the machine does.
    let clients = std::thread::spawn(move || {
        let mut served = 0;
        while served < 300 || seen.load(Relaxed) < STARTS {
            let mut stream = connect(address);
            assert_eq!(hello(&stream), "Hello world!");
            stream.write_all(b"quit\n").unwrap();
            assert_eq!(rest(&stream).unwrap(), b"");
            served += 1;
        }
    });
    while !clients.is_finished() {
        let socket = listener.try_clone().unwrap();
        let (status, log) = Unit::new(SERVER)
            .socket("clients", socket)
            .arg("--exit-idle-time=0")
            .spawn()
            .ends();
        assert!(status.success(), "{log}");
        starts.fetch_add(1, Relaxed);
    }
    clients.join().unwrap();
}

#[test]
fn on_sigterm_connections_end_by_themselves_and_nobody_new_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Unit::new(SERVER)
        .socket("clients", listener.try_clone().unwrap())
        .ready();
    let mut client = connect(address);
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    server.until(|message| message.contains("STOPPING=1"));
    server.until(|message| message.contains("EXTEND_TIMEOUT_USEC="));
    let waiting = connect(address);
    assert_eq!(hello(&client), "Hello world!", "it goes on");
    client.write_all(b"quit\n").unwrap();
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    // The one who came late is served by the next process.
    let _next = Unit::new(SERVER).socket("clients", listener).ready();
    assert_eq!(hello(&waiting), "Hello world!");
}

#[test]
fn connections_that_do_not_end_are_cut_after_the_drain_timeout() {
    let mut address = None;
    let server = server(&mut address).arg("--drain-timeout=100ms").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("1 connection was cut off"), "{log}");
    let error = rest(&client).expect_err("it looks whole");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut address = None;
    let mut server = server(&mut address).arg("--drain-timeout=infinity").ready();
    let client = connect(address.unwrap());
    assert_eq!(hello(&client), "Hello world!");
    server.signal(libc::SIGTERM);
    server.until(|message| message.contains("STOPPING=1"));
    server.signal(libc::SIGINT);
    let (status, log) = server.ends();
    assert!(status.success(), "{log}");
    assert!(log.contains("told twice"), "{log}");
}

#[test]
fn the_watchdog_hears_a_sign_of_life() {
    let mut address = None;
    let mut server = server(&mut address).env("WATCHDOG_USEC", "100000").ready();
    for _ in 0..3 {
        server.until(|message| message.contains("WATCHDOG=1"));
    }
}

#[test]
fn when_descriptors_run_out_clients_wait_and_nobody_is_lost() {
    let mut address = None;
    let mut server = server(&mut address).limit_descriptors(44).ready();
    let address = address.unwrap();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    for mut client in &clients {
        client.write_all(b"hello\nquit\n").unwrap();
    }
    for client in &clients {
        assert_eq!(rest(client).unwrap(), b"Hello world!\r\n");
    }
    assert!(server.is_running());
}

#[test]
fn above_connections_max_clients_wait_for_their_turn() {
    let mut address = None;
    let mut server = server(&mut address).arg("--connections-max=1").ready();
    let address = address.unwrap();
    let first = connect(address);
    assert_eq!(hello(&first), "Hello world!");
    let second = connect(address);
    let status = server.until(|message| message.contains("1 open, 1 waiting"));
    assert!(status.starts_with("STATUS="), "{status}");
    drop(first);
    assert_eq!(hello(&second), "Hello world!");
}

#[test]
fn bad_arguments_are_named_and_the_exit_status_is_2() {
    for (program, argument, word) in [
        (SERVER, "--exit-idle-time=soon", "not a time"),
        (SERVER, "notaport", "notaport"),
        (SERVER, "99999", "a port is a number from 0 to 65535"),
        (PROXY, "nowhere", "port is missing"),
        (PROXY, "localhost:0", "port 0 cannot be connected to"),
        (PROXY, "tcp://db.example:80", "write db.example:80"),
        (
            PROXY,
            "--listen=99999",
            "a port is a number from 1 to 65535",
        ),
        (PROXY, "--connections-max=many", "a number is needed"),
        (PROXY, "--frobnicate", "--frobnicate"),
    ] {
        let (status, log) = Unit::new(program).arg(argument).fails();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(word), "{log}");
        assert!(!log.contains("invalid digit"), "{log}");
    }
    let target = "handover:/run/app";
    let unit = Unit::new(PROXY).arg("--proxy-protocol=v1").arg(target);
    let mut address = None;
    let (status, log) = unit.listener(&mut address).fails();
    assert_eq!(status.code(), Some(2), "{log}");
    let (status, log) = Unit::new(PROXY).arg("localhost:1").fails();
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains(".socket unit") && log.contains("--listen"),
        "{log}"
    );
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let mut address = None;
    let mut proxy = Unit::new(PROXY).listener(&mut address);
    for variable in [
        "TARGET",
        "LISTEN",
        "CONTROL",
        "TAKE_OVER",
        "CONNECTIONS_MAX",
        "EXIT_IDLE_TIME",
        "PROXY_PROTOCOL",
        "RESPAWN",
        "LOG_LEVEL",
    ] {
        proxy = proxy.env(&format!("DISNIX_TCP_PROXY_{variable}"), "");
    }
    assert!(proxy.ready().is_running());
    let mut address = None;
    let server = server(&mut address).env("HELLO_WORLD_SERVER_GREETING", "");
    let _server = server.env("HELLO_WORLD_SERVER_LISTEN", "").ready();
    assert_eq!(hello(&connect(address.unwrap())), "Hello world!");
}
