//! Of the command line of `disnix-tcp-proxy`.

use super::*;

#[test]
fn the_command_line_is_consistent_and_every_option_has_a_variable() {
    command_line::check(ProxyOptions::command(), "DISNIX_TCP_PROXY_");
}

#[test]
fn it_takes_what_socket_proxyd_takes() {
    for (words, max, idle, target) in [
        (&["localhost:80"][..], 16384, "infinity", "localhost:80"),
        (&["localhost"], 16384, "infinity", "localhost:80"),
        (
            &["--connections-max=512", "--exit-idle-time=5min", "::1:80"],
            512,
            "5min",
            "[::1]:80",
        ),
        (&["-c", "7", "@app"], 7, "infinity", "unix:@app"),
        (
            &["/run/app", "-c7", "--exit-idle-time", "0"],
            7,
            "0",
            "unix:/run/app",
        ),
        (&["-c5", "-c", "6", "--", "a"], 6, "infinity", "a:80"),
        (
            &["--exit-idle-time=1", "--exit-idle-time=5min 20s", "a"],
            16384,
            "5min 20s",
            "a:80",
        ),
    ] {
        let options = ProxyOptions::parse_from([&["disnix-tcp-proxy"], words].concat());
        assert_eq!(options.connections_max, max, "{words:?}");
        assert_eq!(options.exit_idle_time.to_string(), idle, "{words:?}");
        assert_eq!(options.target.unwrap().to_string(), target);
    }
}

#[test]
fn what_socket_proxyd_takes_and_this_does_not_is_named_with_what_to_write() {
    for (word, says) in [
        ("--exit-idle=5min", "'--exit-idle-time"),
        ("--connections=512", "'--connections-max"),
    ] {
        let error = ProxyOptions::try_parse_from(["disnix-tcp-proxy", word, "a"]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn to_take_over_one_has_to_say_what() {
    let parse = |words: &[&str]| {
        ProxyOptions::try_parse_from([&["disnix-tcp-proxy"], words].concat()).unwrap()
    };
    let all = ["--take-over", "--listen=1", "--control=/c"];
    assert_eq!(parse(&all).contradiction(), None);
    for some in [&all[..1], &all[..2], &[all[0], all[2]]] {
        assert!(parse(some).contradiction().is_some(), "{some:?}");
    }
    assert_eq!(parse(&all[1..2]).contradiction(), None);
}

#[test]
fn requests_are_not_recognised_unless_somebody_says_how() {
    let parse = |words: &[&str]| {
        ProxyOptions::try_parse_from([&["disnix-tcp-proxy"], words].concat()).unwrap()
    };
    for (words, kind) in [
        (&[][..], None),
        (&["--requests=none"], None),
        (&["--requests=lines"], Some(RequestKind::Lines)),
        (&["--requests", "http"], Some(RequestKind::Http)),
    ] {
        assert_eq!(parse(words).requests, kind, "{words:?}");
    }
}

#[test]
fn to_detach_idle_clients_one_has_to_say_what_a_request_is() {
    let parse = |words: &[&str]| {
        ProxyOptions::try_parse_from([&["disnix-tcp-proxy"], words].concat()).unwrap()
    };
    let all = ["--detach-idle=1s", "--requests=http"];
    assert_eq!(parse(&all).contradiction(), None);
    assert_eq!(parse(&["--detach-idle=infinity"]).contradiction(), None);
    for alone in [&all[..1], &[all[0], "--requests=none"]] {
        let why = parse(alone).contradiction().unwrap();
        assert!(why.contains("needs --requests"), "{why}");
    }
}

#[test]
fn yes_and_no_are_what_systemd_takes_for_them() {
    for (words, is) in [
        (["yes", "True", "1", "on"], true),
        (["no", "FALSE", "0", "off"], false),
    ] {
        for word in words {
            let keep = format!("--keep-connections={word}");
            let options = ProxyOptions::parse_from(["disnix-tcp-proxy", &keep]);
            assert_eq!(options.keep_connections, Some(is), "{word}");
        }
    }
}

#[test]
fn bad_values_are_named() {
    let long = format!("--control=/{}", "x".repeat(107));
    for (argument, word) in [
        ("--keepalive=1s", "2s"),
        ("--connections-max=0", "at least 1"),
        ("--exit-idle-time=soon", "not a time"),
        ("--proxy-protocol=v3", "v1 and v2"),
        ("--keep-connections=maybe", "yes or no"),
        ("--connect-timeout=0", "write infinity"),
        ("--idle-timeout=0s", "write infinity"),
        ("--stall-timeout=0", "write infinity"),
        ("--detach-idle=0", "write infinity"),
        ("--requests=silence", "none, lines, http"),
        (&long, "107 bytes"),
        ("no where", "not a name"),
        ("--listen=tcp", "port is missing"),
        ("--health=tcp", "port is missing"),
    ] {
        let error = ProxyOptions::try_parse_from(["disnix-tcp-proxy", argument]).unwrap_err();
        assert!(error.to_string().contains(word), "{argument}: {error}");
    }
}
