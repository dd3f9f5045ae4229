//! Lock, drain, queue, unlock: the promise that the proxy exists for, with the real control tool.

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod close_idle;
mod drain;
mod health;
mod requests;
mod setup;
mod target;
mod upstream;

use std::net::TcpStream;

use setup::*;
use support::*;

#[test]
fn the_status_says_how_requests_are_recognised() {
    let setup = Setup::new();
    for (options, kind) in [
        (&["--requests=http", "--detach-idle=1min"][..], Some("http")),
        (&["--requests=none"], None),
    ] {
        let _proxy = setup.start_with(options);
        assert_eq!(setup.status()["requests"].as_str(), kind);
    }
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
fn waiting_clients_are_accepted_in_the_order_of_their_arrival() {
    let setup = Setup::new();
    let _proxy = setup.start();
    setup.does(&["lock"]);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(setup.address())).collect();
    setup.does(&["unlock"]);
    // Several threads serve them at the same time; their numbers are in the order of their acceptance.
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
    assert!(status.success() && log.contains("nobody uses it"), "{log}");
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
    // The idle time passes many times; there is no event to wait for.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(proxy.is_running());
    setup.does(&["unlock"]);
    serve_one(&setup.upstream, b"served");
    assert_eq!(rest(&client).unwrap(), b"served");
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
fn a_command_runs_while_the_proxy_is_locked_and_gives_its_exit_status() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let script = format!("'{CTL}' --json status | grep -q '\"locked\"' && exit 42");
    let (status, text) = setup.ctl(&["lock", "--", "sh", "-c", &script]);
    assert_eq!(status, 42, "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn a_lock_that_cannot_be_written_is_refused_and_the_gate_stays_open() {
    let setup = Setup::new();
    let _proxy = setup.start();
    // A directory in the place of the temporary file, which cannot be created then.
    std::fs::create_dir(setup.directory.path().join("lock.new")).unwrap();
    let (status, text) = setup.ctl(&["lock"]);
    assert_eq!(status, 1);
    assert!(text.contains("lock"), "{text}");
    assert_eq!(setup.gate(), "open");
}

#[test]
fn a_limit_of_the_size_of_files_refuses_a_lock_and_ends_nothing() {
    let setup = Setup::new();
    let _proxy = setup.unit(&[]).limit(libc::RLIMIT_FSIZE, 0).ready();
    let (status, text) = setup.ctl(&["lock"]);
    assert_eq!(status, 1);
    assert!(text.contains("File too large"), "{text}");
    let (_client, _upstream) = setup.pair();
    assert_eq!(setup.gate(), "open");
}
