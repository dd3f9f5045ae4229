use super::*;

fn order(listen: &[&str], target: &str) -> Order {
    Order {
        instance: Instance::new("web").unwrap(),
        listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
        target: target.parse().unwrap(),
        fixed: false,
        variables: Vec::new(),
        relations: Relations::default(),
        carried: CarriedLines::default(),
    }
}

/// The file whose name ends so, without the mark.
fn file(order: &Order, end: &str) -> Option<String> {
    let files = order.files().unwrap();
    let file = files.into_iter().find(|file| file.path.ends_with(end))?;
    let content = file.content.strip_prefix(&format!("{MARK}\n")).unwrap();
    Some(content.to_owned())
}

fn refused(order: &Order, words: &str) {
    let error = order.plan(Beginning::Started).unwrap_err();
    assert!(error.contains(words), "{error}");
}

fn typed(acts: &[PlanCommand]) -> Vec<String> {
    acts.iter().map(PlanCommand::to_string).collect()
}

const ENABLE: &str =
    "systemctl enable --now disnix-tcp-proxy@web.socket disnix-tcp-proxy-control@web.socket";
const START: &str = "systemctl start disnix-tcp-proxy@web.service";
const SET_TARGET: &str = "disnix-tcp-proxyctl --instance web set-target 127.0.0.1:8080";
const RELOAD: &str = "systemctl daemon-reload";

#[test]
fn the_least_is_an_address_a_file_for_options_and_four_commands() {
    let plan = order(&["80"], "127.0.0.1:8080")
        .plan(Beginning::Started)
        .unwrap();
    let paths: Vec<_> = plan.files.iter().map(|file| &*file.path).collect();
    assert_eq!(
        paths,
        [
            "/etc/systemd/system/disnix-tcp-proxy@web.socket.d/listen.conf",
            "/etc/disnix-tcp-proxy/web.env"
        ]
    );
    assert_eq!(
        plan.files[0].content,
        format!("{MARK}\n[Socket]\nListenStream=80\n")
    );
    let options = &plan.files[1].content;
    assert!(
        options.lines().all(|line| line.starts_with('#')),
        "{options}"
    );
    assert!(options.contains("systemctl restart disnix-tcp-proxy@web.service"));
    assert_eq!(typed(&plan.now), [RELOAD, ENABLE, START, SET_TARGET]);
    assert_eq!(plan.later, []);
}

#[test]
fn a_fixed_target_stands_in_the_file_and_is_not_set() {
    let mut order = order(&["80"], "127.0.0.1:8080");
    order.fixed = true;
    let options = file(&order, "web.env").unwrap();
    assert!(
        options.ends_with("\nDISNIX_TCP_PROXY_TARGET=127.0.0.1:8080\n"),
        "{options}"
    );
    let plan = order.plan(Beginning::Started).unwrap();
    assert_eq!(typed(&plan.now), [RELOAD, ENABLE, START]);
}

#[test]
fn each_address_has_a_line_and_a_path_is_removed_with_its_socket() {
    let several = order(&["80", "[fe80::1%eth0]:81", "@web", "/run/web"], "a:1");
    assert_eq!(
        file(&several, "listen.conf").unwrap(),
        "[Socket]\nListenStream=80\nListenStream=[fe80::1%%eth0]:81\nListenStream=@web\n\
         ListenStream=/run/web\nRemoveOnStop=yes\n"
    );
}

#[test]
fn options_stand_in_the_file_and_of_several_the_last_counts() {
    let mut order = order(&["80"], "a:1");
    order.variables = [
        ("requests", "lines"),
        ("threads", "2"),
        ("requests", "http"),
    ]
    .map(|(option, value)| ProxyVariable::new(option, value))
    .into();
    let options = file(&order, "web.env").unwrap();
    assert!(
        options.ends_with("\nDISNIX_TCP_PROXY_THREADS=2\nDISNIX_TCP_PROXY_REQUESTS=http\n"),
        "{options}"
    );
    assert!(!options.contains("lines\n"), "{options}");
}

#[test]
fn other_units_stand_in_a_drop_in_of_the_service() {
    let mut order = order(&["80"], "a:1");
    assert_eq!(file(&order, "service.conf"), None);
    order.relations = Relations {
        wants: vec!["a.service".to_owned()],
        upholds: vec!["b.service".to_owned()],
        groups: vec!["g".to_owned()],
    };
    assert_eq!(
        file(&order, "service.conf").unwrap(),
        "[Unit]\nWants=a.service\nAfter=a.service\nUpholds=b.service\nAfter=b.service\n\n\
         [Service]\nSupplementaryGroups=g\n"
    );
}

#[test]
fn a_target_gets_what_the_sandbox_of_the_unit_lacks() {
    for (target, text) in [
        (
            "handover:/run/app/handover",
            "[Service]\nSupplementaryGroups=disnix-tcp-proxy-handover\n",
        ),
        (
            "vsock:3:80",
            "[Service]\nRestrictAddressFamilies=AF_VSOCK\n",
        ),
    ] {
        let order = order(&["80"], target);
        assert_eq!(file(&order, "service.conf").as_deref(), Some(text));
    }
    for target in ["a:1", "unix:/run/app", "unix:@app"] {
        assert_eq!(file(&order(&["80"], target), "service.conf"), None);
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    refused(&order(&["80"], "127.0.0.1:80"), "is the proxy itself");
    refused(
        &order(&["8080", "/run/a"], "unix:/run/a"),
        "is the proxy itself",
    );
    refused(&order(&["80", "81", "080"], "a:1"), "twice");
    refused(
        &order(&["80", "127.0.0.1:80"], "a:1"),
        "--listen 80 and --listen 127.0.0.1:80 overlap",
    );
    let mut only_v6 = order(&["80", "127.0.0.1:80"], "a:1");
    only_v6
        .carried
        .socket
        .push("BindIPv6Only=ipv6-only".to_owned());
    only_v6.files().unwrap();
    refused(&order(&[], "a:1"), "where the proxy is to listen");
    refused(&order(&["/run/a\\"], "a:1"), "a unit file cannot have");
    for place in HIDDEN {
        refused(
            &order(&["80"], &format!("unix:{place}/app")),
            "sandbox hides",
        );
        refused(
            &order(&["80"], &format!("handover:{place}/app")),
            "sandbox hides",
        );
    }
    order(&["80"], "unix:/tmpfs/app").files().unwrap();
}

#[test]
fn what_another_unit_says_is_carried_into_its_section() {
    let line = |text: &str| vec![text.to_owned()];
    let mut order = order(&["80"], "unix:/tmp/nginx.sock");
    order.carried = CarriedLines {
        socket: line("BindToDevice=eth0"),
        unit: line("JoinsNamespaceOf=nginx.service"),
        service: line("PrivateNetwork=yes"),
    };
    assert_eq!(
        file(&order, "listen.conf").unwrap(),
        "[Socket]\nListenStream=80\nBindToDevice=eth0\n"
    );
    assert_eq!(
        file(&order, "service.conf").unwrap(),
        "[Unit]\nJoinsNamespaceOf=nginx.service\n\n[Service]\nPrivateNetwork=yes\n"
    );
    order.target = "unix:/home/nginx.sock".parse().unwrap();
    refused(&order, "sandbox hides");
}

#[test]
fn the_old_proxy_is_stopped_first_or_by_the_administrator() {
    let order = order(&["80"], "127.0.0.1:8080");
    let old = ["old.socket".to_owned(), "old.service".to_owned()];
    const STOP: &str = "systemctl disable --now old.socket old.service";
    let plan = order.plan(Beginning::Replacing(&old)).unwrap();
    assert_eq!(typed(&plan.now), [RELOAD, STOP, ENABLE, START, SET_TARGET]);
    assert_eq!(plan.later, []);
    let plan = order.plan(Beginning::Later(&old)).unwrap();
    assert_eq!(typed(&plan.now), [RELOAD]);
    assert_eq!(typed(&plan.later), [STOP, ENABLE, START, SET_TARGET]);
}

#[test]
fn in_a_system_that_does_not_run_nothing_is_started_or_told() {
    let mut order = order(&["80"], "a:1");
    let error = order.plan(Beginning::Enabled).unwrap_err();
    assert!(error.contains("--fixed"), "{error}");
    order.fixed = true;
    let plan = order.plan(Beginning::Enabled).unwrap();
    assert_eq!(typed(&plan.now), [ENABLE.replace(" --now", "")]);
    assert_eq!(plan.later, []);
}

#[test]
fn a_command_can_be_pasted_into_a_shell() {
    let set = |target: &str| {
        let (instance, target) = ("web".to_owned(), target.to_owned());
        PlanCommand::SetTarget { instance, target }.to_string()
    };
    assert!(set("[::1]:80").ends_with(" '[::1]:80'"));
    assert!(set("unix:/a b's").ends_with(" 'unix:/a b'\\''s'"));
    assert!(set("a:1").ends_with(" a:1"));
    let stop = PlanCommand::systemctl(&["stop"], &["old\\x2dproxy.socket".to_owned()]);
    assert_eq!(stop.to_string(), "systemctl stop 'old\\x2dproxy.socket'");
}
