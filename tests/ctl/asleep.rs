//! Proxies that sleep, by the word of a stand-in for `systemctl`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::stand_in::{Ended, StandIn, end, read_until, status};

/// A `systemctl` that answers with two files.
struct Systemctl(TempDir);

impl Systemctl {
    /// The proxy's service is in `state`, which has the lines that are asked for.
    fn new(proxy: &StandIn, state: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let sockets = format!(
            "Listen=/run/other (Stream)\nTriggers=other.service\nActiveState=active\n\n\
             Listen={} (Stream)\nTriggers=web.service\nActiveState=active\n\n\
             Listen=127.0.0.1:1 (Stream)\nTriggers=web.service\nActiveState=active\n",
            proxy.path().display()
        );
        fs::write(at("sockets"), sockets).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n\
             'show --property='*' -- *.socket') exec cat {0}/sockets;;\n\
             'show --property='*' -- web.service') exec cat {0}/services;;\nesac\n\
             echo \"unexpected: $*\" >&2; exit 1\n",
            directory.path().display()
        );
        fs::write(at("systemctl"), script).unwrap();
        fs::set_permissions(at("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let new = Self(directory);
        new.says(state);
        new
    }

    /// From now on the service is in this state.
    fn says(&self, state: &str) {
        let next = self.0.path().join("next");
        fs::write(&next, state).unwrap();
        fs::rename(next, self.0.path().join("services")).unwrap();
    }

    fn path(&self) -> OsString {
        let mut path = self.0.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    fn ctl(&self, proxy: &StandIn, arguments: &[&str]) -> Command {
        let mut command = proxy.ctl(arguments);
        command.env("PATH", self.path());
        command
    }

    /// The program has ended, and nobody has called the proxy.
    #[track_caller]
    fn ended(&self, proxy: &StandIn, arguments: &[&str]) -> Ended {
        let ended = Ended::from(self.ctl(proxy, arguments).output().unwrap());
        assert!(!proxy.has_caller(), "{ended:?}");
        ended
    }
}

const ASLEEP: &str =
    "ActiveState=inactive\nResult=success\nInactiveEnterTimestampMonotonic=1000000\n";

#[test]
fn status_does_not_wake_a_proxy_that_sleeps() {
    let proxy = StandIn::new();
    let systemctl = Systemctl::new(&proxy, ASLEEP);
    // Without other directories the files are beside the control socket.
    fs::write(proxy.directory.path().join("target"), "127.0.0.1:8080\n").unwrap();
    for arguments in [&["status"][..], &[]] {
        let ended = systemctl.ended(&proxy, arguments).expect(0, "");
        for words in [
            "Gate: open",
            "Target: 127.0.0.1:8080",
            "Process: asleep since ",
            "starts web.service",
        ] {
            assert!(ended.output.contains(words), "{}", ended.output);
        }
    }
    let mut shown = systemctl.ended(&proxy, &["status", "--json"]).json();
    let since = shown.as_object_mut().unwrap().remove("sinceUSec");
    assert!(since.is_some_and(|since| since.as_u64() > Some(0)));
    let expected = json!({
        "process": "asleep", "unit": "web.service", "result": "success", "gate": "open",
        "target": "127.0.0.1:8080", "targetFixed": false, "open": 0, "queued": 0,
        "listeners": [{ "address": "127.0.0.1:1", "inherited": true }],
    });
    assert_eq!(shown, expected);
}

#[test]
fn connections_does_not_wake_a_proxy_that_has_none() {
    let proxy = StandIn::new();
    let systemctl = Systemctl::new(&proxy, ASLEEP);
    let ended = systemctl.ended(&proxy, &["connections"]);
    let output = ended
        .expect(0, "the proxy sleeps: nobody is connected")
        .output;
    assert_eq!(output.lines().count(), 1, "{output}");
    let ended = systemctl.ended(&proxy, &["connections", "--json"]);
    assert_eq!(ended.expect(0, "").output, "[]\n");

    // Nobody knows how many are kept.
    let kept = format!("{ASLEEP}NFileDescriptorStore=13\n");
    let systemctl = Systemctl::new(&proxy, &kept);
    let child = systemctl.ctl(&proxy, &["connections"]).spawn().unwrap();
    proxy.called("ListConnections").reply(json!({}));
    end(child).expect(0, "");
}

#[test]
fn a_watch_of_the_connections_does_not_start_a_proxy_that_is_being_stopped() {
    let proxy = StandIn::new();
    let systemctl = Systemctl::new(&proxy, "ActiveState=active\n");
    let mut command = systemctl.ctl(&proxy, &["connections", "--watch", "--json"]);
    let mut child = command.spawn().unwrap();
    let mut caller = proxy.called("ListConnections");
    caller.reply(json!({}));
    systemctl.says("ActiveState=deactivating\nJob=7\n");
    drop(caller);
    read_until(child.stderr.as_mut().unwrap(), "systemd stops the proxy");
    systemctl.says(ASLEEP);
    let ended = end(child).expect(0, "the proxy sleeps: nobody is connected");
    assert!(!proxy.has_caller(), "{ended:?}");

    // One that is restarted is connected to when it runs again.
    systemctl.says("ActiveState=deactivating\nJob=7\n");
    let mut child = command.spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "systemd stops the proxy");
    assert!(!proxy.has_caller());
    systemctl.says("ActiveState=active\n");
    proxy.called("ListConnections").reply(json!({}));
    systemctl.says(ASLEEP);
    end(child).expect(0, "the proxy sleeps: nobody is connected");
}

#[test]
fn one_that_is_asked_for_or_that_runs_is_called() {
    let proxy = StandIn::new();
    for (state, arguments) in [
        (ASLEEP, &["status", "--wake"][..]),
        ("ActiveState=active\n", &["status"]),
        ("ActiveState=activating\n", &["status"]),
        // What systemctl says makes no sense.
        ("", &["status"]),
    ] {
        let systemctl = Systemctl::new(&proxy, state);
        let child = systemctl.ctl(&proxy, arguments).spawn().unwrap();
        proxy.called("GetStatus").reply(status("open", None));
        let ended = end(child).expect(0, "");
        assert!(ended.output.contains("Process: 42"), "{}", ended.output);
    }
}

#[test]
fn one_that_has_failed_is_shown_with_the_reason() {
    let proxy = StandIn::new();
    let failed = "ActiveState=failed\nResult=exit-code\nInactiveEnterTimestampMonotonic=0\n";
    let systemctl = Systemctl::new(&proxy, failed);
    let ended = systemctl.ended(&proxy, &["status"]).expect(0, "");
    let words = "Process: failed (exit-code): see `journalctl -u web.service`";
    assert!(ended.output.contains(words), "{}", ended.output);
}
