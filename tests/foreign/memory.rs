//! Memory that has bytes of others in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;

use crate::Setup;
use crate::support::*;

/// A size that no mapping has but those for bytes in hand: room for thousands of buffers.
const LARGE_KIB: u64 = 64 << 10;

#[test]
fn a_crash_writes_nothing_to_disk() {
    let setup = Setup::new();
    let directory = tempfile::tempdir().unwrap();
    let unit = setup
        .unit()
        .arg("localhost:1")
        .current_dir(directory.path());
    let proxy = unit
        .in_the_child(|| {
            let limit = libc::rlimit {
                rlim_cur: libc::RLIM_INFINITY,
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: setrlimit(2) reads the struct it is given. It fails where no dump can be anyway.
            unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
            Ok(())
        })
        .ready();
    proxy.signal(libc::SIGABRT);
    let (status, log) = proxy.ends();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{log}");
    assert!(!status.core_dumped());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn other_processes_of_its_user_cannot_look_into_it() {
    const USER: u32 = 4322;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let programs = tempfile::tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = programs.path().join("proxy");
    let copied = std::process::Command::new("cp")
        .arg(PROXY)
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut address = None;
    let proxy = Unit::new(program.to_str().unwrap())
        .run_as(USER)
        .listener(&mut address)
        .arg("localhost:1")
        .ready();
    // What belongs to a process that is not dumpable is root's, proc(5).
    let of = |file: &str| format!("/proc/{}/{file}", proxy.pid());
    let status = fs::read_to_string(of("status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{USER}")), "{status}");
    assert_eq!(fs::metadata(of("mem")).unwrap().uid(), 0);
}

#[test]
fn room_for_bytes_in_hand_is_left_out_of_what_a_debugger_writes() {
    let setup = Setup::new();
    let proxy = setup.unit().arg("localhost:1").ready();
    let maps = fs::read_to_string(format!("/proc/{}/smaps", proxy.pid())).unwrap();
    let mut size = 0;
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Size:") => size = words.next().unwrap().parse().unwrap(),
            Some("VmFlags:") if size >= LARGE_KIB && words.clone().any(|flag| flag == "wr") => {
                found += 1;
                assert!(words.any(|flag| flag == "dd"), "{line}");
            }
            _ => {}
        }
    }
    assert!(found > 0, "{maps}");
}
