//! Programs that fail, are not there, or cannot be started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::setup::*;
use crate::support::*;
use crate::{INETD, script, talk, unit};

#[test]
fn how_a_program_has_failed_is_logged() {
    let setup = Setup::new();
    let (_proxy, mut inetd) = (setup.proxy(), script(&setup, "read how; eval $how"));
    assert_eq!(talk(&setup, "exit 7\n"), "");
    let logged = inetd.until_logged("exit status 7");
    assert!(logged.contains("connection 1 of 127.0.0.1:"), "{logged}");
    assert!(logged.contains(": sh has ended"), "{logged}");
    assert_eq!(talk(&setup, "kill -9 $$\n"), "");
    let logged = inetd.until_logged("connection 2 of");
    assert!(logged.ends_with("sh was killed by signal 9"), "{logged}");
    assert_eq!(talk(&setup, "echo well\n"), "well\n");
    assert_eq!(setup.status()["accepted"], 3);
}

#[test]
fn how_a_program_has_failed_is_known_also_if_sigchld_was_ignored_at_the_start() {
    let setup = Setup::new();
    let _proxy = setup.proxy();
    let ignore = || {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        Ok(())
    };
    let mut inetd = unit(&setup, &[], &["sh", "-c", "read how; eval $how"])
        .in_the_child(ignore)
        .ready();
    assert_eq!(talk(&setup, "exit 7\n"), "");
    inetd.until_logged("exit status 7");
}

#[test]
fn a_program_that_is_not_there_is_named_at_the_start() {
    let setup = Setup::new();
    for (command, sentence) in [
        (
            "there-is-no-such-program",
            "there is no program “there-is-no-such-program” in PATH",
        ),
        (
            "/nonexistent/program",
            "/nonexistent/program cannot be run: No such file",
        ),
        (
            "/etc/passwd",
            "/etc/passwd cannot be run: Permission denied",
        ),
        ("/", "/ cannot be run: "),
    ] {
        let (status, log) = unit(&setup, &[], &[command]).fails();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(sentence), "{log}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let setup = Setup::new();
    let (status, log) = unit(&setup, &[], &[]).fails();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("<COMMAND>"), "{log}");
    let (status, log) = Unit::new(INETD).arg("cat").fails();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains("ListenDatagram=") && log.contains("--handover"),
        "{log}"
    );
    let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, log) = Unit::new(INETD)
        .socket("clients", stream)
        .arg("cat")
        .fails();
    assert!(
        !status.success() && log.contains("ListenDatagram="),
        "{log}"
    );
    let misspelt = unit(&setup, &[], &["cat"]).env("DISNIX_TCP_PROXY_INETD_PROCESS_MAX", "3");
    let (status, log) = misspelt.fails();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains("DISNIX_TCP_PROXY_INETD_PROCESSES_MAX was probably meant"),
        "{log}"
    );
    let known = unit(&setup, &[], &["cat"]).env("DISNIX_TCP_PROXY_INETD_COMMAND", "cat");
    known.ready();
}

fn write_program(path: &Path) {
    let new = path.with_extension("new");
    fs::write(&new, "#!/bin/sh\nexec cat\n").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn while_its_program_is_being_replaced_a_client_waits() {
    let setup = Setup::new();
    let path = setup.path("program");
    write_program(&path);
    let mut inetd = unit(&setup, &[], &[path.to_str().unwrap()]).ready();
    let _proxy = setup.proxy();
    assert_eq!(talk(&setup, "before"), "before");
    fs::remove_file(&path).unwrap();
    let address = setup.address();
    let client = std::thread::spawn(move || {
        use std::io::Write;
        let mut client = connect(address);
        client.write_all(b"meanwhile").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        rest(&client).unwrap()
    });
    let logged = inetd.until_logged("program cannot be started");
    assert!(
        logged.contains("its clients go back to the proxy"),
        "{logged}"
    );
    write_program(&path);
    assert_eq!(client.join().unwrap(), b"meanwhile");
    setup.open_becomes(0);
    assert_eq!(setup.status()["accepted"], 2);
}

#[test]
fn while_no_descriptor_is_left_clients_wait() {
    let setup = Setup::new();
    let mut inetd = unit(&setup, &[], &["cat"]).ready();
    let _proxy = setup.proxy();
    assert_eq!(talk(&setup, "before"), "before");
    let before = inetd.limit_descriptors(3);
    let client = setup.connect();
    inetd.until_logged("lower --processes-max");
    inetd.limit_descriptors(before);
    crate::echo(&client, "after");
}
