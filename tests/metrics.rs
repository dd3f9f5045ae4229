//! Metrics: printed, and served to Prometheus and `systemd-report`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::*;

/// A proxy in front of an upstream that the test plays itself.
struct Setup {
    _proxy: Running,
    directory: tempfile::TempDir,
    address: SocketAddr,
    upstream: TcpListener,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(directory.path().join("control")).unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = upstream.local_addr().unwrap().to_string();
        let mut address = None;
        let unit = Unit::new(PROXY).listener(&mut address);
        Self {
            _proxy: unit.socket("varlink", control).arg(target).ready(),
            directory,
            address: address.unwrap(),
            upstream,
        }
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// What is printed.
    fn metrics(&self) -> String {
        let (status, text) = run_ctl(&self.control(), &["metrics"]);
        assert_eq!(status, 0, "{text}");
        text
    }

    /// The program that answers Prometheus.
    fn server(&self) -> Unit {
        server(&self.control())
    }
}

fn server(control: &Path) -> Unit {
    let unit = Unit::new(CTL).arg("--control").arg(control);
    unit.arg("metrics").arg("--serve")
}

/// The value of the only sample whose name and labels begin and end like this.
#[track_caller]
fn value(text: &str, name: &str, last_label: &str) -> f64 {
    let is_it = |line: &&str| line.starts_with(name) && line.contains(last_label);
    let lines: Vec<_> = text.lines().filter(is_it).collect();
    let [line] = lines[..] else {
        panic!("{name} {last_label}: {lines:?}\n{text}");
    };
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_a_proxy_has_done_is_in_its_metrics() {
    let setup = Setup::new();
    let mut client = connect(setup.address);
    let (mut upstream, _) = setup.upstream.accept().unwrap();
    client.write_all(b"hello\n").unwrap();
    assert_eq!(line(&upstream), "hello");
    upstream.write_all(b"world!\n").unwrap();
    assert_eq!(line(&client), "world!");
    eventually("what was sent is counted", || {
        value(&setup.metrics(), "disnix_tcp_proxy_sent_bytes_total{", "}") == 7.0
    });
    let text = setup.metrics();
    for (name, last_label, expected) in [
        ("disnix_tcp_proxy_process{", "state=\"running\"}", 1.0),
        ("disnix_tcp_proxy_gate{", "state=\"open\"}", 1.0),
        ("disnix_tcp_proxy_connections_open{", "}", 1.0),
        ("disnix_tcp_proxy_connections_accepted_total{", "}", 1.0),
        ("disnix_tcp_proxy_received_bytes_total{", "}", 6.0),
        ("disnix_tcp_proxy_drain_duration_seconds_count{", "}", 0.0),
    ] {
        assert_eq!(value(&text, name, last_label), expected, "{name}");
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    drop((client, upstream));

    let (status, said) = run_ctl(&setup.control(), &["lock"]);
    assert_eq!(status, 0, "{said}");
    let text = setup.metrics();
    for (name, last_label, expected) in [
        ("disnix_tcp_proxy_gate{", "state=\"locked\"}", 1.0),
        ("disnix_tcp_proxy_connections_open{", "}", 0.0),
        ("disnix_tcp_proxy_drain_duration_seconds_count{", "}", 1.0),
        (
            "disnix_tcp_proxy_drain_duration_seconds_bucket{",
            "le=\"+Inf\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(&text, name, last_label), expected, "{name}");
    }
    let since = value(&text, "disnix_tcp_proxy_lock_start_time_seconds{", "}");
    assert!(since > 1.7e9, "{since}");
}

#[test]
fn a_proxy_that_is_not_there_is_a_metric_and_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let (status, text) = run_ctl(&directory.path().join("control"), &["metrics"]);
    assert_eq!(status, 0, "{text}");
    let is_unreachable = value(&text, "disnix_tcp_proxy_process{", "state=\"unreachable\"}");
    assert_eq!(is_unreachable, 1.0);
}

#[test]
fn json_is_not_what_prometheus_reads() {
    let setup = Setup::new();
    let (status, text) = run_ctl(&setup.control(), &["metrics", "--json"]);
    assert_eq!(status, 2, "{text}");
}

/// Sends this, and reads the answer to its end.
fn ask(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const REQUEST: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn prometheus_is_answered_on_an_inherited_socket() {
    let setup = Setup::new();
    let mut address = None;
    let _server = setup.server().listener(&mut address).spawn();
    // They say nothing, and others are answered nevertheless.
    let _silent = [(); 3].map(|()| connect(address.unwrap()));
    for _ in 0..3 {
        let answer = ask(connect(address.unwrap()), REQUEST);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(
            head.contains("\r\nContent-Type: application/openmetrics-text;"),
            "{head}"
        );
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(body.ends_with("\n# EOF\n"), "{body}");
        let is_running = value(body, "disnix_tcp_proxy_process{", "state=\"running\"}");
        assert_eq!(is_running, 1.0);
    }
    let answer = ask(connect(address.unwrap()), &REQUEST.replace("GET", "HEAD"));
    assert!(
        answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn what_is_no_request_for_metrics_is_refused() {
    let setup = Setup::new();
    let mut address = None;
    let _server = setup.server().listener(&mut address).spawn();
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(8192));
    for (request, status) in [
        ("GET /other HTTP/1.1\r\n\r\n", "404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "400"),
        (&long[..8192], "431"),
    ] {
        let answer = ask(connect(address.unwrap()), request);
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{answer}"
        );
        let says_what_is_allowed = answer.contains("\r\nAllow: GET, HEAD\r\n");
        assert_eq!(says_what_is_allowed, status == "405", "{answer}");
    }
}

#[test]
fn the_answer_to_a_request_that_is_much_too_long_arrives() {
    let setup = Setup::new();
    let mut address = None;
    let _server = setup.server().listener(&mut address).spawn();
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(200_000));
    let answer = ask(connect(address.unwrap()), &long);
    assert!(
        answer.ends_with("\r\n\r\nthe request is too long\n"),
        "{answer}"
    );
}

#[test]
fn a_local_socket_is_served_too_and_a_proxy_that_has_gone_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics");
    let listener = UnixListener::bind(&path).unwrap();
    let _server = server(&directory.path().join("control"))
        .socket("metrics", listener)
        .spawn();
    let answer = ask(UnixStream::connect(&path).unwrap(), REQUEST);
    let is_unreachable = value(
        &answer,
        "disnix_tcp_proxy_process{",
        "state=\"unreachable\"}",
    );
    assert_eq!(is_unreachable, 1.0);
}

/// What `systemd-report` of systemd 262 sends; other programs send empty parameters.
const LIST: &str = r#"{"method":"io.systemd.Metrics.List","more":true}"#;
const DESCRIBE: &str = r#"{"method":"io.systemd.Metrics.Describe","parameters":{},"more":true}"#;

/// A listener with the name by which systemd knows it.
fn report_socket(directory: &Path) -> (UnixListener, PathBuf) {
    let path = directory.join("io.github.disnix-proxy-example.Proxy");
    (UnixListener::bind(&path).unwrap(), path)
}

/// Calls, and returns all replies.
fn report(stream: &UnixStream, call: &str) -> Vec<Value> {
    (&*stream)
        .write_all(format!("{call}\0").as_bytes())
        .unwrap();
    let mut messages = BufReader::new(stream).split(0);
    let mut replies = Vec::new();
    loop {
        let message = messages.next().unwrap().unwrap();
        let reply: Value = serde_json::from_slice(&message).unwrap();
        let continues = reply["continues"] == true;
        replies.push(reply);
        if !continues {
            return replies;
        }
    }
}

#[test]
fn systemd_report_is_answered_beside_prometheus() {
    let setup = Setup::new();
    let mut address = None;
    let (listener, path) = report_socket(setup.directory.path());
    let server = setup.server().listener(&mut address);
    let _server = server.socket("metrics", listener).spawn();
    let stream = UnixStream::connect(&path).unwrap();
    // More than one call on a connection, and one on another.
    for stream in [&stream, &stream, &UnixStream::connect(&path).unwrap()] {
        let replies = report(stream, LIST);
        let gate = replies.iter().find(|reply| {
            reply["parameters"]["name"] == "io.github.disnix-proxy-example.Proxy.Gate"
        });
        assert_eq!(gate.unwrap()["parameters"]["value"], "open");
        for reply in report(stream, DESCRIBE) {
            assert!(reply["parameters"]["type"].is_string(), "{reply}");
        }
    }
    let answer = ask(connect(address.unwrap()), REQUEST);
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[test]
fn a_proxy_of_a_version_without_metrics_is_not_taken_for_one_that_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let listener = UnixListener::bind(&control).unwrap();
    let older = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream)
            .read_until(0, &mut Vec::new())
            .unwrap();
        let error = json!({
            "error": "org.varlink.service.MethodNotFound",
            "parameters": { "method": "io.github.disnix-proxy-example.Proxy.GetMetrics" },
        });
        stream.write_all(format!("{error}\0").as_bytes()).unwrap();
    });
    let (status, text) = run_ctl(&control, &["metrics"]);
    older.join().unwrap();
    assert_eq!(status, 0, "{text}");
    for (state, expected) in [("outdated", 1.0), ("unreachable", 0.0)] {
        let label = format!("state=\"{state}\"}}");
        assert_eq!(value(&text, "disnix_tcp_proxy_process{", &label), expected);
    }
}

#[test]
fn systemd_report_hears_what_a_proxy_is_that_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, path) = report_socket(directory.path());
    let _server = server(&directory.path().join("control"))
        .socket("metrics", listener)
        .spawn();
    let replies = report(&UnixStream::connect(&path).unwrap(), LIST);
    let control = directory.path().join("control").display().to_string();
    let expected = json!({
        "name": "io.github.disnix-proxy-example.Proxy.Process",
        "value": "unreachable",
        "object": control,
    });
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["parameters"], expected);
}

#[test]
fn what_is_no_varlink_ends_that_connection_alone() {
    let setup = Setup::new();
    let (listener, path) = report_socket(setup.directory.path());
    let _server = setup.server().socket("metrics", listener).spawn();
    for garbage in [REQUEST.to_owned() + "\0", "{".repeat(10_000)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // It may be cut off before it has sent all.
        let _ = stream.write_all(garbage.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert!(report(&UnixStream::connect(&path).unwrap(), LIST).len() > 10);
}

#[test]
fn without_a_socket_nothing_is_served() {
    let setup = Setup::new();
    let (status, text) = run_ctl(&setup.control(), &["metrics", "--serve"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("disnix-tcp-proxy-metrics.socket"), "{text}");
}
