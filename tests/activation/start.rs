//! Command lines and the environment; starts that fail.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::server;
use crate::support::*;

/// The shortest time of a start that fails.
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

#[test]
fn bad_arguments_are_named_and_the_exit_status_is_2() {
    for (program, argument, word) in [
        (SERVER, "--exit-idle-time=soon", "not a time"),
        (SERVER, "notaport", "notaport"),
        (SERVER, "99999", "a port is a number from 0 to 65535"),
        (PROXY, "no where", "not a name"),
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
