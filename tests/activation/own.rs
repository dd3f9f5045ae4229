//! Listeners of the process itself, without systemd.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::support::*;

#[test]
fn without_systemd_it_listens_at_the_given_addresses() {
    let free = free_address();
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
fn a_listener_of_its_own_would_be_lost_so_it_stays() {
    let free = free_address();
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
fn a_path_that_is_no_socket_is_not_waited_for_and_named() {
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
