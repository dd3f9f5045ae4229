use super::system::{ENABLE, FakeSystem, LISTEN, OPTIONS, RELOAD, SERVICE, START, target_reply};

const STOP: &str = "disable --now old.socket old.service";

/// A system with a service of systemd-socket-proxyd and its socket.
fn with_old() -> FakeSystem {
    let system = FakeSystem::new();
    system.says(
        "show-old.service",
        "Id=old.service\nLoadState=loaded\nActiveState=active\nUnitFileState=static\n\
         ExecStart={ path=/lib/systemd/systemd-socket-proxyd ; argv[]=/lib/systemd/systemd-socket-proxyd \
         --exit-idle-time=5min 127.0.0.1:8080 ; ignore_errors=no ; pid=0 }\n\
         Requires=nginx.service old.socket\nTriggeredBy=old.socket\nPrivateTmp=yes\n",
    );
    system.says(
        "show-old.socket",
        "Id=old.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nAccept=no\n\
         Listen=[::]:80 (Stream)\nListen=/run/old (Stream)\nTriggers=old.service\n",
    );
    system.says(
        "cat",
        "# /etc/old.service\n[Service]\nExecStart=x\nLimitNOFILE=9\n# /etc/old.socket\n[Socket]\n\
         ListenStream=80\n",
    );
    system
}

#[test]
fn ours_is_made_from_theirs_which_goes_on_and_the_commands_to_switch_over_are_shown() {
    for unit in ["old", "old.service", "old.socket"] {
        let system = with_old();
        let finished = system.run(&["add", "web", "--from-socket-proxyd", unit]);
        let output = finished.succeeds().output;
        assert_eq!(system.calls(), [RELOAD]);
        let listen = system.read(LISTEN).unwrap();
        assert!(
            listen.contains("\nListenStream=80\nListenStream=/run/old\n"),
            "{listen}"
        );
        let options = system.read(OPTIONS).unwrap();
        assert!(
            options.ends_with("\nDISNIX_TCP_PROXY_EXIT_IDLE_TIME=5min\n"),
            "{options}"
        );
        let service = system.read(SERVICE).unwrap();
        assert!(
            service.contains("\nWants=nginx.service\nAfter=nginx.service\n"),
            "{service}"
        );
        let commands: Vec<_> = output
            .lines()
            .filter(|line| line.starts_with("    systemctl "))
            .collect();
        let later = [STOP, ENABLE, START].map(|words| format!("    systemctl {words}"));
        assert_eq!(commands, later);
        assert!(
            output.contains("not carried over: [Service] LimitNOFILE=9"),
            "{output}"
        );
    }
}

#[test]
fn on_request_it_takes_their_place_at_once() {
    let system = with_old();
    let words = [
        "add",
        "web",
        "--from-socket-proxyd=old",
        "--replace",
        "--exit-idle-time=1min",
    ];
    let (finished, calls) = system.run_with_proxy(&words, &[target_reply()]);
    finished.succeeds();
    assert_eq!(system.calls(), [RELOAD, STOP, ENABLE, START]);
    assert_eq!(calls[0]["parameters"]["target"], "127.0.0.1:8080");
    // What is given counts.
    let options = system.read(OPTIONS).unwrap();
    assert!(
        options.ends_with("\nDISNIX_TCP_PROXY_EXIT_IDLE_TIME=1min\n"),
        "{options}"
    );
    assert!(!options.contains("5min"), "{options}");
}

#[test]
fn if_ours_cannot_be_started_theirs_is_back() {
    let system = with_old();
    let links = [
        "etc/systemd/system/old.socket",
        "run/systemd/system/sockets.target.wants/old.socket",
    ];
    for link in links {
        let link = system.path(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/srv/old.socket", link).unwrap();
    }
    system.removes(&links);
    system.fails(START);
    let words = ["add", "web", "--from-socket-proxyd=old", "--replace"];
    system
        .run(&words)
        .fails(1, "removed again, and the old units are as before");
    for link in links {
        let target = std::fs::read_link(system.path(link)).unwrap();
        assert_eq!(target.to_str(), Some("/srv/old.socket"));
    }
    assert_eq!(system.files(), [format!("/{}", links[0])]);
    let calls = system.calls();
    assert_eq!(calls[..4], [RELOAD, STOP, ENABLE, START]);
    assert_eq!(calls[calls.len() - 2..], [RELOAD, "start old.socket"]);
}

#[test]
fn if_theirs_does_not_come_back_either_that_is_said() {
    let system = with_old();
    system.fails(&format!("{START}\nstart old.socket"));
    let words = ["add", "web", "--from-socket-proxyd=old", "--replace"];
    let why = "does not listen again (`systemctl start old.socket` failed";
    system.run(&words).fails(1, why);
    assert_eq!(system.files(), [""; 0]);
}

#[test]
fn a_unit_that_is_none_of_theirs_is_refused() {
    let system = with_old();
    for unit in ["none.service", "none.socket"] {
        system.says(&format!("show-{unit}"), "LoadState=not-found\n");
        system
            .run(&["add", "web", "--from-socket-proxyd", unit])
            .fails(2, "systemd has no unit");
    }
    system.says("show-both.socket", "Triggers=a.service b.service\n");
    system
        .run(&["add", "web", "--from-socket-proxyd=both.socket"])
        .fails(2, "name one of a.service b.service");
    system.says(
        "show-cat.service",
        "Id=cat.service\nLoadState=loaded\nExecStart={ path=/bin/cat ; argv[]=/bin/cat ; x=y }\n",
    );
    let errors = system.run(&["add", "web", "--from-socket-proxyd=cat"]);
    errors.fails(2, "/bin/cat and not systemd-socket-proxyd");
    assert_eq!(system.files(), [""; 0]);
    assert_eq!(system.calls(), [""; 0]);
}

#[test]
fn both_families_are_listened_on_as_before_where_the_machine_separates_them() {
    let system = with_old();
    system.says(
        "show-old.socket",
        "Id=old.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nAccept=no\n\
         BindIPv6Only=default\nListen=[::]:80 (Stream)\nListen=0.0.0.0:80 (Stream)\nTriggers=old.service\n",
    );
    let words = ["add", "web", "--from-socket-proxyd", "old"];
    system.run(&words).fails(2, "overlap");
    system.write("/proc/sys/net/ipv6/bindv6only", "1\n");
    system.run(&words).succeeds();
    let listen = system.read(LISTEN).unwrap();
    let lines = "\nListenStream=80\nListenStream=0.0.0.0:80\nBindIPv6Only=ipv6-only\n";
    assert!(listen.contains(lines), "{listen}");
}
