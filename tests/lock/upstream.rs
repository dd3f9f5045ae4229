//! What is known of the upstream: in the status, the connections, the metrics, and the sentence for systemd.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::setup::*;
use crate::support::*;

/// The value of a metric of the only proxy.
fn metric(setup: &Setup, name: &str) -> String {
    let text = setup.does(&["metrics"]);
    let name = format!("disnix_tcp_proxy_{name}{{");
    let line = text.lines().find(|line| line.starts_with(&name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.expect(&name).to_owned()
}

#[test]
fn an_upstream_that_is_not_there_is_shown_everywhere_until_it_serves() {
    let mut setup = Setup::new();
    let path = setup.directory.path().join("late");
    setup.options = vec![path.display().to_string()];
    let mut proxy = setup.start();
    assert_eq!(setup.status()["upstream"], Value::Null);
    let client = connect(setup.address());
    let sentence = proxy.until(|message| message.contains("Not reached since"));
    let end = "its socket does not exist; 1 client waits for it.";
    assert!(sentence.trim_end().ends_with(end), "{sentence}");
    let status = setup.status();
    assert_eq!(status["connecting"], 1);
    assert_eq!(status["upstream"]["error"], "its socket does not exist");
    assert_eq!(status["upstream"]["reachedUSec"], Value::Null);
    for (verb, expected) in [
        ("status", "Upstream: not reached since "),
        (
            "status",
            "its socket does not exist; 1 client waits for it\n",
        ),
        ("connections", "connecting"),
        ("connections", "upstream: not reached since "),
    ] {
        let text = setup.does(&[verb]);
        assert!(text.contains(expected), "{verb}: {expected}\n{text}");
    }
    assert_eq!(metric(&setup, "upstream_reachable"), "0");
    assert_eq!(metric(&setup, "connections_connecting"), "1");

    let upstream = UnixListener::bind(&path).unwrap();
    let (served, _) = upstream.accept().unwrap();
    proxy.until(|message| message.contains("STATUS=") && !message.contains("Not reached"));
    let status = setup.status();
    assert_eq!(status["connecting"], Value::Null);
    assert_eq!(status["upstream"]["error"], Value::Null);
    assert!(status["upstream"]["reachedUSec"].is_u64(), "{status}");
    let text = setup.does(&["status"]);
    assert!(text.contains("Upstream: reached "), "{text}");
    assert_eq!(metric(&setup, "upstream_reachable"), "1");
    drop((client, served));
}

/// The queue there is full, so that the kernel does not answer.
#[test]
fn an_upstream_that_is_silent_is_said_to_be() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    silent.bind(&any.into()).unwrap();
    silent.listen(0).unwrap();
    let target = silent.local_addr().unwrap().as_socket().unwrap();
    let _full = connect(target);
    let mut setup = Setup::new();
    setup.options = vec![target.to_string(), "--connect-timeout=1s".to_owned()];
    let _proxy = setup.start();
    let client = connect(setup.address());
    eventually("it waits", || setup.status()["connecting"] == 1);
    assert!(rest(&client).is_err());
    assert_eq!(setup.status()["upstream"]["error"], "it does not answer");
    let text = setup.does(&["status"]);
    assert!(text.contains(": it does not answer\n"), "{text}");
}

#[test]
fn of_another_target_nothing_is_known_before_the_first_client() {
    let setup = Setup::without_target();
    let _proxy = setup.start();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    setup.does(&["set-target", &setup.target()]);
    let (_client, _upstream) = setup.pair();
    eventually("it is reached", || {
        setup.status()["upstream"]["reachedUSec"].is_u64()
    });
    let there = elsewhere.local_addr().unwrap().to_string();
    setup.does(&["set-target", &there]);
    assert_eq!(setup.status()["upstream"], Value::Null);
    setup.does(&["set-target", &there]);
    let _client = connect(setup.address());
    let _served = elsewhere.accept().unwrap();
    eventually("it is reached", || {
        setup.status()["upstream"]["reachedUSec"].is_u64()
    });
}
