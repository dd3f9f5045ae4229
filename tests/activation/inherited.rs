//! Listeners from systemd, and descriptors that are none.

use std::io::{self, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};

use crate::support::*;

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
        assert_eq!(io::read_to_string(stream).unwrap(), "Hello world!\r\n");
    }
}

/// systemd does that when it passes the socket to another service: `O_NONBLOCK` is of the open file.
#[test]
fn a_listener_that_another_process_makes_blocking_serves_one_client_after_the_other() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    for unit in [Unit::new(SERVER), Unit::new(PROXY).arg(target)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let copy = listener.try_clone().unwrap();
        let mut daemon = unit.socket("clients", listener).ready();
        copy.set_nonblocking(false).unwrap();
        for open in 1..=4 {
            std::mem::forget(connect(address));
            daemon.until(|message| message.contains(&format!("{open} open")));
        }
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
        let refused = |socket: OwnedFd, words: &[&str]| {
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

/// Descriptors that the program opens itself do not count as inherited.
#[test]
fn descriptors_that_are_promised_and_not_there_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // At another number than 3: a copy to its own number would keep FD_CLOEXEC.
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

/// Runs a proxy without a listener; returns its standard error.
fn nowhere(command: &mut std::process::Command) -> String {
    let output = command.arg("127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn sockets_for_another_process_are_not_taken_and_the_error_has_the_remedy() {
    let mut proxy = std::process::Command::new(PROXY);
    // The names do not fit, which is no affair of the proxy.
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
fn a_number_that_is_for_another_process_or_missing_is_not_read() {
    for (process, count) in [(Some("1"), "many"), (None, "")] {
        let mut proxy = std::process::Command::new(PROXY);
        let process = process.map(|process| ("LISTEN_PID", process));
        proxy.envs(process).env("LISTEN_FDS", count);
        let log = nowhere(&mut proxy);
        assert!(!log.contains("number of descriptors"), "{log}");
    }
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
fn a_socket_that_is_standard_input_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy = std::process::Command::new(PROXY);
    proxy.stdin(OwnedFd::from(listener));
    let log = nowhere(&mut proxy);
    assert!(
        log.contains("leave StandardInput=socket out of the unit"),
        "{log}"
    );
}
