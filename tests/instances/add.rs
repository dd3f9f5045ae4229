use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::close_listener;
use super::system::{
    CLEAN, DISABLE, ENABLE, FakeSystem, Finished, LISTEN, OPTIONS, RELOAD, SERVICE, START,
    error_reply, target_reply,
};

/// A port that is free, as far as one can know.
fn free_port() -> String {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    close_listener(listener);
    port
}

fn add<'a>(port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["add", "web", "--listen", port, "--target", "127.0.0.1:8080"];
    [&words, more].concat()
}

const UNDONE: [&str; 5] = [
    DISABLE,
    "stop disnix-tcp-proxy@web.service disnix-tcp-proxy-pause@web.service",
    CLEAN,
    RELOAD,
    "reset-failed disnix-tcp-proxy@web.socket disnix-tcp-proxy-control@web.socket \
     disnix-tcp-proxy@web.service disnix-tcp-proxy-pause@web.service",
];

/// Checks that nothing of a failed attempt has stayed.
#[track_caller]
fn is_undone(system: &FakeSystem, tried: &[&str]) {
    assert_eq!(system.calls(), [tried, &UNDONE].concat());
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn one_command_writes_the_files_starts_the_proxy_and_shows_what_it_did() {
    let system = FakeSystem::new();
    let port = free_port();
    let words = add(&port, &["--wants=nginx", "--requests=http"]);
    let (finished, calls) = system.run_with_proxy(&words, &[target_reply()]);
    let output = finished.succeeds().output;
    assert_eq!(system.calls(), [RELOAD, ENABLE, START]);
    assert_eq!(
        calls[0]["parameters"],
        json!({ "target": "127.0.0.1:8080" })
    );
    assert_eq!(system.files(), [OPTIONS, SERVICE, LISTEN]);
    for (path, line) in [
        (LISTEN, format!("ListenStream={port}")),
        (SERVICE, "Wants=nginx.service".to_owned()),
        (OPTIONS, "DISNIX_TCP_PROXY_REQUESTS=http".to_owned()),
    ] {
        let written = system.read(path).unwrap();
        assert!(written.lines().any(|written| written == line), "{written}");
        assert!(output.contains(path), "{output}");
        for line in written.lines() {
            assert!(output.contains(&format!("\n    {line}\n")), "{output}");
        }
    }
    assert!(
        output.contains(&format!("\nsystemctl {ENABLE}\n")),
        "{output}"
    );
    assert!(
        output.ends_with("`disnix-tcp-proxyctl --instance web` shows it\n"),
        "{output}"
    );
}

#[test]
fn a_dry_run_shows_the_same_and_changes_nothing() {
    let system = FakeSystem::new();
    let output = system.run(&add("80", &["--dry-run"])).succeeds().output;
    assert!(output.contains("\n    ListenStream=80\n"), "{output}");
    assert!(output.contains("set-target 127.0.0.1:8080\n"), "{output}");
    assert!(
        output.ends_with("nothing was changed (--dry-run)\n"),
        "{output}"
    );
    assert_eq!(system.calls(), [""; 0]);
    assert_eq!(system.files(), [""; 0]);
    let json = system.run(&add("80", &["--dry-run", "--json"])).succeeds();
    let json: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(json["files"][0]["path"], LISTEN);
    assert_eq!(json["commands"][1], format!("systemctl {ENABLE}"));
}

#[test]
fn a_proxy_that_is_there_is_left_as_it_is() {
    let port = free_port();
    for (path, text) in [(LISTEN, "[Socket]\n"), (OPTIONS, ""), (SERVICE, "[Unit]\n")] {
        let system = FakeSystem::new();
        system.write(path, text);
        let errors = system.run(&add(&port, &[])).fails(1, "already").errors;
        assert!(
            errors.contains(path) && errors.contains("set-target TARGET"),
            "{errors}"
        );
        assert_eq!(system.files(), [path]);
        assert_eq!(system.calls(), [""; 0]);
    }
    let (listed, drop_in) = (
        "listed-disnix-tcp-proxy@web.socket",
        LISTEN.replace("listen", "my"),
    );
    for (what, text, shown) in [
        (
            "enabled-disnix-tcp-proxy@web.socket",
            "enabled-runtime\n",
            "",
        ),
        (
            listed,
            "disnix-tcp-proxy@web.socket loaded active listening\n",
            "ActiveState=active\n",
        ),
        (
            drop_in.as_str(),
            "[Socket]\n",
            "ActiveState=inactive\nListen=[::]:80 (Stream)\n",
        ),
    ] {
        let system = FakeSystem::new();
        match what == drop_in {
            true => system.write(what, text),
            false => system.says(what, text),
        }
        let before = system.files();
        system.says("show-disnix-tcp-proxy@web.socket", shown);
        system
            .run(&add(&port, &[]))
            .fails(1, "there is a proxy web already");
        assert_eq!(system.files(), before);
    }
}

#[test]
fn systemd_reads_no_unit_of_it_before_the_socket_has_its_address() {
    let system = FakeSystem::new();
    let port = free_port();
    let (finished, _) = system.run_with_proxy(&add(&port, &[]), &[target_reply()]);
    finished.succeeds();
    let calls = system.all_calls();
    let before = calls.iter().take_while(|call| *call != RELOAD);
    let before: Vec<_> = before.filter(|call| call.contains("@web")).collect();
    // These two look at links and at what systemd has read already.
    assert_eq!(
        before,
        [
            "is-enabled -- disnix-tcp-proxy@web.socket",
            "list-units --all --no-legend --plain -- disnix-tcp-proxy@web.socket",
        ]
    );
    assert!(calls.len() > 3, "{calls:?}");
}

#[test]
fn a_proxy_needs_its_units_and_a_port_that_nobody_has() {
    let system = FakeSystem::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    system.run(&add(&port, &[])).fails(1, "in use");
    close_listener(listener);
    system.says("enabled-disnix-tcp-proxy@web.socket", "not-found\n");
    system
        .run(&add(&port, &[]))
        .fails(1, "install the units first");
    assert_eq!(system.calls(), [""; 0]);
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn if_systemd_cannot_start_it_everything_is_taken_back_and_the_reason_is_shown() {
    let system = FakeSystem::new();
    let port = free_port();
    let journal = "Starting a...\nerror: 0 threads are none\na: Failed with result 'x'.\n";
    for (failing, tried) in [
        (RELOAD, &[RELOAD][..]),
        (ENABLE, &[RELOAD, ENABLE]),
        (START, &[RELOAD, ENABLE, START]),
    ] {
        system.fails(failing);
        // systemd makes it, and leaves it.
        let control = system.path("/run/disnix-tcp-proxy/web");
        std::fs::create_dir_all(&control).unwrap();
        system.says("journal=disnix-tcp-proxy@web.service", journal);
        let finished = system.run(&add(&port, &["--set=threads=0"]));
        let errors = finished
            .fails(1, &format!("`systemctl {failing}` failed: Job for a unit"))
            .errors;
        assert!(errors.contains("removed again"), "{errors}");
        let has_reason = errors.contains("error: 0 threads are none");
        assert_eq!(has_reason, failing == START, "{errors}");
        if failing == RELOAD {
            // That of the way back fails too, and the rest of it is done. Nothing was started, so there is no state.
            assert_eq!(system.calls().len(), 5);
            assert_eq!(system.files(), [""; 0]);
        } else {
            is_undone(&system, tried);
            assert!(!control.exists());
        }
    }
}

#[test]
fn if_the_proxy_refuses_its_target_everything_is_taken_back() {
    let system = FakeSystem::new();
    let reason = json!({ "target": "127.0.0.1:8080", "reason": "it leads back" });
    let port = free_port();
    let reply = error_reply("InvalidTarget", &reason);
    let (finished, _) = system.run_with_proxy(&add(&port, &[]), &[reply]);
    finished.fails(1, "it leads back");
    is_undone(&system, &[RELOAD, ENABLE, START]);
}

#[test]
fn a_failed_attempt_leaves_the_state_of_an_earlier_proxy_of_that_name() {
    let system = FakeSystem::new();
    let port = free_port();
    let target = "/var/lib/disnix-tcp-proxy/web/target";
    system.write(target, "192.0.2.1:80");
    system.says(
        "show-disnix-tcp-proxy@web.service",
        "RuntimeDirectory=disnix-tcp-proxy-gate/web\nStateDirectory=disnix-tcp-proxy/web\n\
         NFileDescriptorStore=0\n",
    );
    system.fails(START);
    system.run(&add(&port, &[])).fails(1, "removed again");
    let calls = system.calls();
    let cleaned: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("clean"))
        .collect();
    assert!(
        cleaned
            .iter()
            .all(|call| !call.contains("all") && !call.contains("=state")),
        "{cleaned:?}"
    );
    assert!(cleaned[0].contains("--what=runtime"), "{cleaned:?}");
    assert_eq!(system.read(target).unwrap(), "192.0.2.1:80");
}

#[test]
fn if_it_is_interrupted_everything_is_taken_back() {
    let system = FakeSystem::new();
    let gate = system.hangs(START);
    let port = free_port();
    let mut command = system.ctl_here(&add(&port, &[]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // When systemctl reads.
    let _gate = OpenOptions::new().write(true).open(gate).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let finished = Finished::from(child.wait_with_output().unwrap());
    finished.fails(1, "interrupted");
    is_undone(&system, &[RELOAD, ENABLE, START]);
}

#[test]
fn a_unit_that_systemd_does_not_have_is_noted() {
    let system = FakeSystem::new();
    system.says("show-ngnix.service", "LoadState=not-found\n");
    for (unit, is_noted) in [("ngnix", true), ("nginx", false)] {
        let words = add("80", &["--dry-run", "--wants", unit]);
        let output = system.run(&words).succeeds().output;
        let note = format!("note: systemd has no unit {unit}.service");
        assert_eq!(output.contains(&note), is_noted, "{output}");
    }
}

#[test]
fn a_fixed_target_needs_no_call() {
    let system = FakeSystem::new();
    let port = free_port();
    system.run(&add(&port, &["--fixed"])).succeeds();
    let options = system.read(OPTIONS).unwrap();
    assert!(
        options.contains("\nDISNIX_TCP_PROXY_TARGET=127.0.0.1:8080\n"),
        "{options}"
    );
}

#[test]
fn what_makes_no_sense_is_wrong_usage_and_changes_nothing() {
    let system = FakeSystem::new();
    let target = ["--target", "127.0.0.1:80"];
    for (words, why) in [
        (&["add", "default", "--listen=80"][..], "default"),
        (&["add", "a.b", "--listen=80"], "letters, digits"),
        (&["add", &"x".repeat(28), "--listen=80"], "at most 27"),
        (&["add", "web", "--listen=80"], "is the proxy itself"),
        (
            &["add", "web", "--listen=localhost:80"],
            "looks up no names",
        ),
        (&["add", "web", "--listen=81", "--listen=81"], "twice"),
        (&["add", "web"], "--listen"),
        (
            &["--instance=x", "add", "web", "--listen=81"],
            "leave --instance",
        ),
        (&["add", "web", "--listen=81", "--set=foo"], "OPTION=VALUE"),
    ] {
        system.run(&[words, &target].concat()).fails(2, why);
    }
    assert_eq!(system.calls(), [""; 0]);
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn nixos_is_told_of_its_module() {
    let system = FakeSystem::new();
    system.write("/etc/NIXOS", "");
    system
        .run(&add("80", &[]))
        .fails(1, "services.disnix-tcp-proxy");
    system.run(&add("80", &["--dry-run"])).succeeds();
    system
        .run(&["remove", "web"])
        .fails(1, "services.disnix-tcp-proxy");
}

#[test]
fn only_root_may_and_everybody_may_look() {
    let as_nobody = |words: &[&str]| -> Finished {
        let mut command = FakeSystem::new().ctl(words);
        if rustix::process::geteuid().is_root() {
            command.uid(65534);
        }
        command.output().unwrap().into()
    };
    as_nobody(&add("80", &[])).fails(1, "only root");
    as_nobody(&["remove", "web"]).fails(1, "only root");
    as_nobody(&add("80", &["--dry-run"])).succeeds();
}

#[test]
fn below_another_root_it_is_enabled_and_not_started() {
    let system = FakeSystem::new();
    let root = system.path("/");
    let root = root.to_str().unwrap();
    let run = |words: &[&str]| -> Finished {
        let output = system.ctl(&[words, &["--root", root]].concat()).output();
        output.unwrap().into()
    };
    run(&add("80", &[])).fails(2, "--fixed");
    run(&add("80", &["--fixed"])).succeeds();
    let enable = ENABLE.replace(" --now", "");
    assert_eq!(system.calls(), [format!("--root {root} {enable}")]);
    assert_eq!(system.files(), [OPTIONS, LISTEN]);
    run(&["remove", "web"]).succeeds();
    let disable = DISABLE.replace(" --now", "");
    assert_eq!(system.calls(), [format!("--root {root} {disable}")]);
    assert_eq!(system.files(), [""; 0]);
}
