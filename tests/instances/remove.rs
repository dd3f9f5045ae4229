use serde_json::json;

use super::system::{
    CLEAN, DISABLE, FakeSystem, LISTEN, OPTIONS, RELOAD, SERVICE, error_reply, lock_reply,
    target_reply,
};

/// A system with a proxy that `add` has made.
fn with_proxy() -> FakeSystem {
    let system = FakeSystem::new();
    let words = [
        "add",
        "web",
        "--listen=/run/never-made-by-a-test",
        "--target=127.0.0.1:8080",
        "--wants=nginx",
    ];
    let (finished, _) = system.run_with_proxy(&words, &[target_reply()]);
    finished.succeeds();
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    system.calls();
    let asleep = "ActiveState=inactive\nNFileDescriptorStore=0\n";
    system.says(RUNS.0, asleep);
    system
}

const RESET_FAILED: &str = "reset-failed disnix-tcp-proxy@web.socket disnix-tcp-proxy-control@web.socket \
                            disnix-tcp-proxy@web.service disnix-tcp-proxy-pause@web.service";

const RUNS: (&str, &str) = ("show-disnix-tcp-proxy@web.service", "ActiveState=active\n");

#[test]
fn a_proxy_that_sleeps_is_removed_without_being_woken() {
    let system = with_proxy();
    let (finished, calls) = system.run_with_proxy(&["remove", "web"], &[]);
    let output = finished.succeeds().output;
    assert_eq!(calls, [""; 0]);
    assert_eq!(system.calls(), [DISABLE, CLEAN, RELOAD, RESET_FAILED]);
    assert_eq!(system.files(), [""; 0]);
    assert!(!system.path(LISTEN).parent().unwrap().exists());
    for path in [LISTEN, SERVICE, OPTIONS] {
        assert!(output.contains(path), "{output}");
    }
}

#[test]
fn a_proxy_that_runs_is_locked_first_so_that_nobody_comes_in_between() {
    let system = with_proxy();
    system.says(RUNS.0, RUNS.1);
    let (finished, calls) = system.run_with_proxy(&["remove", "web"], &[lock_reply(0)]);
    finished.succeeds();
    assert_eq!(
        calls[0]["method"],
        "io.github.disnix-proxy-example.Proxy.Lock"
    );
    assert_eq!(calls[0]["parameters"]["timeoutUSec"], 0);
    assert_eq!(calls[0]["parameters"]["hold"], true);
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn while_clients_are_connected_nothing_is_removed_unless_it_is_forced() {
    let system = with_proxy();
    system.says(RUNS.0, RUNS.1);
    let busy = error_reply("DrainTimedOut", &json!({ "open": 3 }));
    for (reply, words) in [
        (busy, "3 clients are connected"),
        (lock_reply(1), "1 client is connected"),
    ] {
        let (finished, _) = system.run_with_proxy(&["remove", "web"], &[reply]);
        let errors = finished.fails(1, words).errors;
        assert!(errors.contains("--force"), "{errors}");
        assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
        assert_eq!(system.calls(), [""; 0]);
    }
    let (finished, calls) = system.run_with_proxy(&["remove", "web", "--force"], &[]);
    finished.succeeds();
    assert_eq!(calls, [""; 0]);
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn a_proxy_that_starts_or_ends_is_asked_too() {
    for state in ["activating", "deactivating"] {
        let system = with_proxy();
        system.says(RUNS.0, &format!("ActiveState={state}\n"));
        let (finished, _) = system.run_with_proxy(&["remove", "web"], &[lock_reply(1)]);
        finished.fails(1, "1 client is connected");
        assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    }
}

#[test]
fn connections_that_systemd_keeps_for_the_next_start_are_reset_only_if_that_is_forced() {
    let system = with_proxy();
    system.says(RUNS.0, "ActiveState=inactive\nNFileDescriptorStore=13\n");
    let start = "systemctl start disnix-tcp-proxy@web.service";
    let errors = system.run(&["remove", "web"]).fails(1, start).errors;
    assert!(errors.contains("--force"), "{errors}");
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    assert_eq!(system.calls(), [""; 0]);
    system.run(&["remove", "web", "--force"]).succeeds();
}

#[test]
fn a_socket_that_has_lost_its_address_is_not_in_the_way_once_it_is_disabled() {
    let system = with_proxy();
    std::fs::remove_file(system.path(LISTEN)).unwrap();
    system.fails(DISABLE);
    let sockets = [
        "disnix-tcp-proxy@web.socket",
        "disnix-tcp-proxy-control@web.socket",
    ];
    let say = |state: &str| {
        for unit in sockets {
            let shown = format!("ActiveState=inactive\nUnitFileState={state}\n");
            system.says(&format!("show-{unit}"), &shown);
        }
    };
    say("enabled");
    system
        .run(&["remove", "web"])
        .fails(1, "Job for a unit failed.");
    assert_eq!(system.files(), [OPTIONS, SERVICE]);
    say("disabled");
    system.run(&["remove", "web"]).succeeds();
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn if_the_proxy_cannot_be_asked_nothing_is_removed() {
    let system = with_proxy();
    system.says(RUNS.0, RUNS.1);
    std::fs::remove_file(system.path("/run/disnix-tcp-proxy/web/control")).unwrap();
    system.run(&["remove", "web"]).fails(1, "cannot be told");
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    system.run(&["remove", "web", "--force"]).succeeds();
}

#[test]
fn files_of_others_stay_and_are_named() {
    let system = with_proxy();
    let beside = LISTEN.replace("listen", "override");
    system.write(&beside, "[Socket]\nBacklog=7\n");
    system.write(OPTIONS, "DISNIX_TCP_PROXY_THREADS=1\n");
    let output = system.run(&["remove", "web"]).succeeds().output;
    assert_eq!(system.files(), [OPTIONS.to_owned(), beside]);
    assert!(
        output.contains(&format!("note: {OPTIONS} stays")),
        "{output}"
    );
    assert!(
        output.contains("disnix-tcp-proxy@web.socket.d stays"),
        "{output}"
    );
}

#[test]
fn the_directory_of_its_control_socket_goes_too_unless_something_is_in_it() {
    for is_empty in [true, false] {
        let system = with_proxy();
        let directory = system.path("/run/disnix-tcp-proxy/web");
        // systemd removes the socket, and leaves the directory.
        std::fs::remove_file(directory.join("control")).unwrap();
        if !is_empty {
            system.write("/run/disnix-tcp-proxy/web/note", "of an administrator");
        }
        system.run(&["remove", "web"]).succeeds();
        assert_eq!(directory.exists(), !is_empty);
        assert!(system.path("/run/disnix-tcp-proxy").exists());
    }
}

#[test]
fn a_proxy_that_add_has_not_made_is_left_alone() {
    let system = FakeSystem::new();
    system.write(LISTEN, "[Socket]\nListenStream=80\n");
    for words in [&["remove", "web"][..], &["remove", "web", "--force"]] {
        system
            .run(words)
            .fails(1, "has written no file for a proxy web");
    }
    system.run(&["remove", "default"]).fails(2, "default");
    assert_eq!(system.files(), [LISTEN]);
    assert_eq!(system.calls(), [""; 0]);
}

#[test]
fn if_systemd_cannot_stop_it_its_files_stay() {
    let system = with_proxy();
    system.fails(DISABLE);
    system
        .run(&["remove", "web"])
        .fails(1, "Job for a unit failed.");
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
}

#[test]
fn a_dry_run_shows_the_files_and_removes_none() {
    let system = with_proxy();
    let output = system
        .run(&["remove", "web", "--dry-run"])
        .succeeds()
        .output;
    assert!(
        output.contains(LISTEN) && output.contains(DISABLE),
        "{output}"
    );
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    assert_eq!(system.calls(), [""; 0]);
}
