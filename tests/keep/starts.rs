//! Starts that find something wrong while connections are kept.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::forking;
use crate::manager::{Kill, Manager, Program};
use crate::sockets::Kind;
use crate::upstream::Upstream;
use crate::{client, echo};

/// A proxy whose target was saved, and a client of it.
fn set_up(upstream: &Upstream) -> (Manager, TcpStream) {
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, String::new(), 1);
    fs::write(manager.directory().join("target"), upstream.target()).unwrap();
    manager.start();
    let client = client(&manager);
    (manager, client)
}

/// What makes a saved target be of no use.
fn spoil(manager: &mut Manager, how: &str) {
    let target = manager.directory().join("target");
    fs::remove_file(&target).unwrap();
    match how {
        "directory" => fs::create_dir(&target).unwrap(),
        "contradiction" => {
            fs::write(&target, "handover:/run/app/handover").unwrap();
            manager.env("DISNIX_TCP_PROXY_PROXY_PROTOCOL", "v1");
        }
        content => fs::write(&target, content).unwrap(),
    }
}

/// The output of disnix-tcp-proxyctl, which must succeed.
#[track_caller]
fn ctl(manager: &Manager, words: &[&str]) -> String {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"));
    ctl.arg("--control").arg(manager.control()).args(words);
    let output = forking::output(&mut ctl).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_saved_target_that_is_of_no_use_ends_no_connection_and_another_one_can_be_set() {
    let upstream = Upstream::start(Kind::Tcp);
    for how in ["garbage", "", "directory", "contradiction"] {
        let (mut manager, mut open) = set_up(&upstream);
        manager.kill(Kill::Process);
        spoil(&mut manager, how);
        manager.start();
        echo(&mut open);
        let waiting = TcpStream::connect(manager.address()).unwrap();
        if how == "directory" {
            fs::remove_dir(manager.directory().join("target")).unwrap();
        }
        ctl(&manager, &["set-target", &upstream.target()]);
        drop(waiting);
        if how != "contradiction" {
            // The header of the PROXY protocol is none of the upstream's.
            echo(&mut client(&manager));
        }
    }
}

/// Neither the client nor the upstream waits for what does not come.
fn fails_and_keeps_nothing(mut manager: Manager, mut open: TcpStream, status: i32) {
    assert_eq!(manager.try_to_start(), Some(status));
    let error = open.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(manager.stored(), 0);
}

#[test]
fn a_start_that_fails_resets_what_was_kept_and_empties_the_store() {
    let upstream = Upstream::start(Kind::Tcp);
    let (mut manager, open) = set_up(&upstream);
    manager.kill(Kill::Process);
    let everybody = Permissions::from_mode(0o777);
    fs::set_permissions(manager.directory(), everybody).unwrap();
    fails_and_keeps_nothing(manager, open, 1);

    let (mut manager, open) = set_up(&upstream);
    manager.kill(Kill::Process);
    manager.arg("--nonsense");
    fails_and_keeps_nothing(manager, open, 2);
}

#[test]
fn a_start_that_fails_for_lack_of_descriptors_leaves_all_to_the_next() {
    let upstream = Upstream::start(Kind::Tcp);
    let (mut manager, mut open) = set_up(&upstream);
    // What is handed over needs 17 of them, and to load the program takes some more.
    let mut failed = 0;
    for limit in (21..66).step_by(4) {
        manager.kill(Kill::Process);
        manager.limit_descriptors(Some(limit));
        if let Some(status) = manager.try_to_start() {
            failed += 1;
            assert_eq!((status, manager.stored()), (1, 13), "{limit}");
            manager.limit_descriptors(None);
            manager.start();
        }
        echo(&mut open);
    }
    assert!(failed >= 3, "{failed}");
}

/// An earlier version may not have refused it.
#[test]
fn a_variable_of_no_option_is_refused_unless_connections_would_be_lost() {
    let upstream = Upstream::start(Kind::Tcp);
    let (mut manager, mut open) = set_up(&upstream);
    manager.env("DISNIX_TCP_PROXY_TARGT", "localhost:1");
    for kill in [Kill::Process, Kill::Group] {
        manager.kill(kill);
        manager.start();
        echo(&mut open);
        let status = ctl(&manager, &["--json", "status", "--wake"]);
        let shown = "no option has the variable DISNIX_TCP_PROXY_TARGT: DISNIX_TCP_PROXY_TARGET was probably meant";
        assert!(
            status.contains(&format!("\"ignoredVariables\":[\"{shown}\"]")),
            "{status}"
        );
        let words = ctl(&manager, &["status", "--wake"]);
        assert!(words.contains(&format!("Ignored: {shown};")), "{words}");
    }
    let mut first = Manager::of(Program::Proxy, Kind::Tcp, upstream.target(), 1);
    first.env("DISNIX_TCP_PROXY_TARGT", "localhost:1");
    assert_eq!(first.try_to_start(), Some(2));
}
