//! What connections have survived is counted for the status and the metrics.

use std::io::Read;

use crate::manager::{Kill, Manager, Program};
use crate::requests::ctl;
use crate::sockets::Kind;
use crate::upstream::Upstream;
use crate::{client, echo};

/// Kills, connections restored, connections given up, as both the metrics and the status have them.
pub fn counted(manager: &Manager) -> [u64; 3] {
    let counted = in_metrics(manager);
    let output = ctl(&manager.control(), &["status", "--json", "--wake"]).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = ["kills", "restored", "givenUp"];
    let shown = shown.map(|name| status["survived"][name].as_u64().unwrap_or(0));
    assert_eq!(shown, counted, "{status}");
    assert_eq!(status["survived"].is_null(), counted == [0; 3], "{status}");
    counted
}

fn in_metrics(manager: &Manager) -> [u64; 3] {
    let output = ctl(&manager.control(), &["metrics"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    [
        "kills_survived",
        "connections_restored",
        "connections_given_up",
    ]
    .map(|name| {
        let name = format!("disnix_tcp_proxy_{name}_total{{");
        let line = text.lines().find(|line| line.starts_with(&name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.expect(&text).parse().unwrap()
    })
}

#[test]
fn kills_and_what_survives_them_are_counted_and_a_restart_is_no_kill() {
    let upstream = Upstream::start(Kind::Tcp);
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, upstream.target(), 1);
    manager.start();
    assert_eq!(counted(&manager), [0, 0, 0]);
    let mut clients = [client(&manager), client(&manager)];
    for kills in 1..=2 {
        manager.kill(Kill::Process);
        manager.start();
        clients.iter_mut().for_each(echo);
        assert_eq!(counted(&manager), [kills, 2 * kills, 0]);
    }
    manager.end();
    manager.start();
    clients.iter_mut().for_each(echo);
    assert_eq!(counted(&manager), [2, 6, 0]);
}

#[test]
fn what_another_version_has_left_is_counted_as_given_up() {
    let upstream = Upstream::start(Kind::Tcp);
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, upstream.target(), 1);
    manager.start();
    let mut client = client(&manager);
    echo(&mut client);
    manager.kill(Kill::Group);
    manager.change_version();
    manager.start();
    assert!(client.read(&mut [0]).is_err());
    let [_, restored, given_up] = counted(&manager);
    // Its sockets are counted, which are two.
    assert_eq!((restored, given_up), (0, 2));
}
