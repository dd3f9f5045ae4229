use super::*;

fn properties(lines: &[(&str, &str)]) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in lines {
        let values = properties.entry((*name).to_owned()).or_default();
        values.push((*value).to_owned());
    }
    properties
}

fn exec(words: &str) -> String {
    format!(
        "{{ path=/x ; argv[]=/usr/lib/systemd/systemd-socket-proxyd {words} ; ignore_errors=no ; \
         start_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }}"
    )
}

/// Units with these words behind the program, and these further properties and lines.
fn units(words: &str, service: &[(&str, &str)], socket: &[(&str, &str)], text: &str) -> ShownUnits {
    let start = exec(words);
    let service = [&[("Id", "old.service"), ("ExecStart", &*start)], service].concat();
    let socket = [&[("Id", "old.socket"), ("Accept", "no")], socket].concat();
    ShownUnits {
        service: properties(&service),
        sockets: vec![properties(&socket)],
        text: text.to_owned(),
        default_is_only_v6: false,
    }
}

const PORT: (&str, &str) = ("Listen", "[::]:80 (Stream)");

fn port(name: &str) -> Option<u16> {
    ["http", "www"].contains(&name).then_some(80)
}

fn found(units: &ShownUnits) -> (ProxyTraits, Vec<String>) {
    read(units, &port).unwrap()
}

fn target_of(words: &str) -> String {
    found(&units(words, &[], &[PORT], "")).0.target.to_string()
}

#[test]
fn the_target_means_what_it_means_there() {
    for (words, target) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost", "localhost:80"),
        ("localhost:http", "localhost:80"),
        ("localhost:www", "localhost:80"),
        ("::1:8080", "[::1]:8080"),
        ("/run/app.sock", "unix:/run/app.sock"),
        ("@app", "unix:@app"),
        ("--exit-idle-time=5min a:1", "a:1"),
        ("a:1 -c 7", "a:1"),
        ("-c7 -- a:1", "a:1"),
        ("--connections-max 7 --exit-idle-time 5s a:1", "a:1"),
    ] {
        assert_eq!(target_of(words), target, "{words}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_reason() {
    for (words, why) in [
        ("", "exactly one HOST"),
        ("a:1 b:1", "exactly one HOST"),
        ("a:ntp", "nor the name of a service"),
        ("a:99999", "from 1 to 65535"),
        ("--verbose a:1", "--verbose"),
        ("a:1 -c", "missing"),
        ("-c many a:1", "not a number"),
        ("--exit-idle-time=soon a:1", "not a time"),
        ("${HOST}:1", "variables"),
        ("\"a b\":1", "quotes"),
        ("::1", "its target"),
    ] {
        let error = read(&units(words, &[], &[PORT], ""), &port).unwrap_err();
        assert!(error.contains(why), "{words}: {error}");
    }
    let mut other = units("a:1", &[], &[PORT], "");
    let start = "{ path=/bin/nc ; argv[]=/bin/nc a 1 ; ignore_errors=no }".to_owned();
    other.service.insert("ExecStart".to_owned(), vec![start]);
    assert!(read(&other, &port).unwrap_err().contains("/bin/nc"));
    other.service.remove("ExecStart");
    assert!(read(&other, &port).unwrap_err().contains("no ExecStart="));
}

#[test]
fn its_sockets_are_those_of_the_new_proxy() {
    let sockets = [
        PORT,
        ("Listen", "/run/old (Stream)"),
        ("Listen", "@old (Stream)"),
    ];
    let (traits, _) = found(&units("a:1", &[], &sockets, ""));
    let listen: Vec<_> = traits.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["80", "/run/old", "@old"]);
    for (lines, why) in [
        (&[("Listen", "[::]:80 (Datagram)")][..], "no stream"),
        (&[PORT, ("Listen", "/run/fifo (FIFO)")], "no stream"),
        (&[], "no socket unit"),
    ] {
        let error = read(&units("a:1", &[], lines, ""), &port).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let mut accepting = units("a:1", &[], &[PORT], "");
    accepting.sockets[0].insert("Accept".to_owned(), vec!["yes".to_owned()]);
    assert!(read(&accepting, &port).unwrap_err().contains("Accept=yes"));
}

#[test]
fn its_limits_stay_and_what_they_do_now_is_said() {
    let variables = |words: &str| {
        let (traits, notes) = found(&units(words, &[], &[PORT], ""));
        let variables = traits.variables.iter();
        let variables = variables.map(|variable| format!("{}={}", variable.name, variable.value));
        (variables.collect::<Vec<_>>(), notes)
    };
    let (set, notes) = variables("a:1");
    assert_eq!(set, ["DISNIX_TCP_PROXY_EXIT_IDLE_TIME=infinity"]);
    assert!(notes[0].contains("256"), "{notes:?}");
    let (set, notes) = variables("-c 512 --exit-idle-time=300 a:1");
    assert_eq!(
        set,
        [
            "DISNIX_TCP_PROXY_EXIT_IDLE_TIME=5min",
            "DISNIX_TCP_PROXY_CONNECTIONS_MAX=512"
        ]
    );
    assert!(notes[0].contains("512 wait"), "{notes:?}");
}

#[test]
fn the_service_that_it_starts_is_started_by_the_new_proxy() {
    let service = [
        (
            "Requires",
            "nginx.service old.socket sysinit.target system.slice",
        ),
        ("Wants", "nginx.service cache.service"),
        ("Upholds", "kept.service"),
        ("Group", "web"),
        ("SupplementaryGroups", "a b"),
    ];
    let (traits, notes) = found(&units("a:1", &service, &[PORT], ""));
    let expected = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        traits.relations.wants,
        expected(&["nginx.service", "cache.service"])
    );
    assert_eq!(traits.relations.upholds, expected(&["kept.service"]));
    assert_eq!(traits.relations.groups, expected(&["web", "a", "b"]));
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("Requires=nginx.service is Wants="))
    );
}

#[test]
fn a_namespace_that_it_joins_is_joined() {
    let service = [
        ("JoinsNamespaceOf", "nginx.service"),
        ("PrivateNetwork", "yes"),
        ("PrivateTmp", "yes"),
    ];
    let (traits, _) = found(&units("/tmp/nginx.sock", &service, &[PORT], ""));
    assert_eq!(traits.carried.unit, ["JoinsNamespaceOf=nginx.service"]);
    assert_eq!(
        traits.carried.service,
        ["PrivateNetwork=yes", "PrivateTmp=yes"]
    );
    let (traits, _) = found(&units("a:1", &service[2..], &[PORT], ""));
    assert_eq!(traits.carried, CarriedLines::default());
}

#[test]
fn unusual_settings_of_its_socket_stay() {
    let usual = [
        PORT,
        ("BindIPv6Only", "default"),
        ("SocketMode", "0666"),
        ("Transparent", "no"),
    ];
    let (traits, _) = found(&units("a:1", &[], &usual, ""));
    assert_eq!(traits.carried.socket, [""; 0]);
    let unusual = [
        PORT,
        ("Listen", "/run/old (Stream)"),
        ("BindIPv6Only", "ipv6-only"),
        ("BindToDevice", "eth0"),
        ("SocketUser", "www"),
        ("SocketMode", "0660"),
    ];
    let (traits, _) = found(&units("a:1", &[], &unusual, ""));
    assert_eq!(
        traits.carried.socket,
        [
            "BindIPv6Only=ipv6-only",
            "BindToDevice=eth0",
            "SocketUser=www",
            "SocketMode=0660"
        ]
    );
}

#[test]
fn a_socket_that_has_ipv6_alone_by_the_setting_of_the_machine_keeps_that() {
    let v4 = [("Listen", "0.0.0.0:80 (Stream)")];
    for (value, line) in [
        ("", "BindIPv6Only=ipv6-only"),
        ("default", "BindIPv6Only=ipv6-only"),
        ("ipv6-only", "BindIPv6Only=ipv6-only"),
        ("both", ""),
    ] {
        let mut units = units("a:1", &[], &[PORT, ("BindIPv6Only", value)], "");
        units.default_is_only_v6 = true;
        let (traits, _) = found(&units);
        assert_eq!(traits.carried.socket.concat(), line);
        // The other family has nothing to do with it.
        units.sockets = vec![properties(&v4)];
        assert_eq!(found(&units).0.carried.socket, [""; 0]);
    }
}

#[test]
fn sockets_that_differ_in_what_concerns_them_are_refused() {
    let several = |sockets: &[&[(&str, &str)]]| {
        let sockets = sockets.iter().map(|lines| properties(lines)).collect();
        let mut units = units("a:1", &[], &[PORT], "");
        units.sockets = sockets;
        read(&units, &port)
    };
    let secret = [("Listen", "/run/a (Stream)"), ("SocketMode", "0600")];
    let shared = [("Listen", "/run/b (Stream)"), ("SocketMode", "0660")];
    let public = [("Listen", "/run/c (Stream)"), ("SocketMode", "0666")];
    let inner = [PORT, ("BindToDevice", "eth1")];
    let outer = [("Listen", "0.0.0.0:81 (Stream)"), ("BindToDevice", "")];
    for (sockets, key) in [
        ([&secret, &shared], "SocketMode="),
        ([&secret, &public], "SocketMode="),
        ([&inner, &outer], "BindToDevice="),
    ] {
        let error = several(&sockets.map(|lines| &lines[..])).unwrap_err();
        assert!(error.contains(key) && error.contains("--listen"), "{error}");
    }
    // Each setting concerns one of the two.
    let v4 = [("Listen", "0.0.0.0:80 (Stream)"), ("SocketMode", "0666")];
    let v6 = [PORT, ("BindIPv6Only", "ipv6-only"), ("SocketMode", "0666")];
    let (traits, _) = several(&[&v4, &v6, &secret]).unwrap();
    assert_eq!(
        traits.carried.socket,
        ["BindIPv6Only=ipv6-only", "SocketMode=0600"]
    );
}

#[test]
fn a_unit_of_another_kind_is_wanted_if_the_old_files_name_it() {
    let service = [
        ("Requires", "app.socket old.socket sysinit.target"),
        ("Wants", "network-online.target"),
    ];
    let text = "[Unit]\nRequires=app.socket old.socket\nWants=network-online.target\nPartOf=app.service\n\
                [Install]\nWantedBy=sysinit.target\n";
    let (traits, notes) = found(&units("/run/app", &service, &[PORT], text));
    assert_eq!(
        traits.relations.wants,
        ["app.socket", "network-online.target"]
    );
    let last = "not carried over: [Unit] PartOf=app.service";
    assert_eq!(notes.last().unwrap(), last);
}

#[test]
fn lines_that_are_not_carried_over_are_named() {
    let text = "[Unit]\nDescription=Old\nRequires=a\nConditionPathExists=/x\n[Service]\nExecStart=x\n\
                ProtectHome=yes\nUser=web\nLimitNOFILE=9\n[Socket]\nListenStream=80\nKeepAlive=yes\n\
                [Install]\nWantedBy=sockets.target\n";
    let (_, notes) = found(&units("a:1", &[], &[PORT], text));
    assert_eq!(
        notes[1..],
        [
            "not carried over: [Unit] ConditionPathExists=/x",
            "not carried over: [Service] User=web",
            "not carried over: [Service] LimitNOFILE=9",
            "not carried over: [Socket] KeepAlive=yes",
        ]
    );
}
