//! `connections`: list the open connections of a proxy.

use std::cmp::Reverse;

use serde_json::json;
use tokio::time::timeout;

use super::call::client::{ANSWER_TIME, Client, NamedProxy};
use super::failure::CtlFailure;
use super::options::ConnectionOrder;
use super::sleeper::sleeping_proxy::{self, SleepKind, Sleeper};
use super::terminal::display::{self, Align, age, bytes};
use super::terminal::output;
use super::upstream;
use crate::interface::{ConnectionReply, ConnectionStatus};
use crate::service::plural::{clause, count};
use crate::service::program::note;

/// Lists them. A proxy that sleeps is not started for that, unless systemd keeps connections for its next process.
pub async fn run(
    proxy: &NamedProxy,
    order: Option<ConnectionOrder>,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let sleeper = sleeper_without_any(proxy).await;
    let mut connections = match sleeper {
        Some(_) => Vec::new(),
        None => list(proxy, &mut None).await?,
    };
    if let Some(order) = order {
        sort(&mut connections, order);
    }
    if as_json {
        return output::json(&connections);
    }
    table(&connections).iter().try_for_each(output::line)?;
    if let Some(sleeper) = &sleeper {
        note(why_nobody(proxy, sleeper));
    }
    // Not in the table, which others may read.
    let why = upstream::why_they_wait(proxy, &connections).await;
    why.iter().for_each(note);
    Ok(())
}

/// The proxy, if it sleeps and systemd keeps nothing for it: then it has no connection.
async fn sleeper_without_any(proxy: &NamedProxy) -> Option<Sleeper> {
    let found = sleeping_proxy::find(std::slice::from_ref(proxy)).await;
    let mut sleepers = found.unwrap_or_default().into_iter().flatten();
    sleepers.find(|sleeper| sleeper.open == Some(0))
}

/// Why nobody is connected to a proxy that sleeps.
pub fn why_nobody(proxy: &NamedProxy, sleeper: &Sleeper) -> String {
    match sleeper.process {
        SleepKind::Asleep => "the proxy sleeps: nobody is connected".to_owned(),
        SleepKind::Failed => format!(
            "the proxy has failed, so nobody is connected: see `{}`",
            proxy.command("status")
        ),
    }
}

/// Asks for all open connections, over `client`, connected here if need be. After a failure it is of no use.
pub async fn list(
    proxy: &NamedProxy,
    client: &mut Option<Client>,
) -> Result<Vec<ConnectionStatus>, CtlFailure> {
    let answers = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(proxy.connect().await?),
        };
        client.call("ListConnections", json!({}), true).await?;
        let mut connections = Vec::new();
        loop {
            let answer = client.reply::<ConnectionReply>().await?;
            connections.extend(answer.parameters.connection);
            if !answer.continues {
                return Ok(connections);
            }
        }
    };
    let result = timeout(ANSWER_TIME, answers).await;
    result.unwrap_or_else(|_| Err(proxy.silent(ANSWER_TIME)))
}

/// Puts the one first that has been idle or connected for longest, or has carried most.
pub fn sort(connections: &mut [ConnectionStatus], order: ConnectionOrder) {
    connections.sort_by_key(|one| {
        Reverse(match order {
            ConnectionOrder::Idle => one.idle_usec,
            ConnectionOrder::Age => one.age_usec,
            ConnectionOrder::Bytes => one.received_bytes.saturating_add(one.sent_bytes),
        })
    });
}

/// Those that hold up a drain: all that have an upstream, or are about to.
pub fn that_hold_up(connections: Vec<ConnectionStatus>) -> Vec<ConnectionStatus> {
    let open = connections.into_iter();
    open.filter(|connection| !connection.detached).collect()
}

/// `web: 28 connections, 2 clients are detached`.
pub fn heading(name: &str, connections: &[ConnectionStatus]) -> String {
    let detached = connections.iter().filter(|one| one.detached).count();
    let open = count(connections.len() - detached, "connection");
    let detached = match detached {
        0 => String::new(),
        more => format!(
            ", {}",
            clause(more, "client", ("is detached", "are detached"))
        ),
    };
    format!("{name}: {open}{detached}")
}

pub fn table(connections: &[ConnectionStatus]) -> Vec<String> {
    let has_opaque = connections.iter().any(|one| one.opaque.is_some());
    let columns = [
        ("ID", Align::Right),
        ("PEER", Align::Left),
        ("UPSTREAM", Align::Left),
        ("AGE", Align::Right),
        ("IDLE", Align::Right),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
        (if has_opaque { "OPAQUE" } else { "" }, Align::Left),
    ];
    let row = |connection: &ConnectionStatus| {
        let upstream = connection.upstream.as_deref();
        [
            connection.id.to_string(),
            connection.peer.clone(),
            match connection.detached {
                true => "detached".to_owned(),
                false => upstream.unwrap_or("connecting").to_owned(),
            },
            age(connection.age_usec),
            age(connection.idle_usec),
            bytes(connection.received_bytes),
            bytes(connection.sent_bytes),
            connection.opaque.clone().unwrap_or_default(),
        ]
    };
    display::table(columns, connections.iter().map(row))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn connection(id: u64, detached: bool, opaque: Option<&str>) -> ConnectionStatus {
        ConnectionStatus {
            id,
            peer: "192.0.2.1:4".to_owned(),
            upstream: (!detached).then(|| "[::1]:80".to_owned()),
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 7,
            sent_bytes: 0,
            detached,
            opaque: opaque.map(str::to_owned),
        }
    }

    #[test]
    fn a_detached_client_has_no_upstream_and_an_opaque_connection_has_a_reason() {
        let detached = [connection(1, true, None), connection(2, false, None)];
        assert_eq!(
            table(&detached),
            [
                "ID  PEER         UPSTREAM  AGE  IDLE  RECEIVED  SENT",
                " 1  192.0.2.1:4  detached   0s    0s       7 B   0 B",
                " 2  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B",
            ]
        );
        let opaque = [
            connection(3, false, Some("TLS")),
            connection(4, false, None),
        ];
        assert_eq!(
            table(&opaque),
            [
                "ID  PEER         UPSTREAM  AGE  IDLE  RECEIVED  SENT  OPAQUE",
                " 3  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B  TLS",
                " 4  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B",
            ]
        );
    }

    #[test]
    fn the_first_is_the_one_with_most_and_equals_stay_in_their_order() {
        let mut all = vec![
            connection(1, false, None),
            connection(2, false, None),
            connection(3, false, None),
        ];
        (all[0].idle_usec, all[1].age_usec, all[2].sent_bytes) = (9, 9, 9);
        for (order, expected) in [
            (ConnectionOrder::Bytes, [3, 1, 2]),
            (ConnectionOrder::Age, [2, 3, 1]),
            (ConnectionOrder::Idle, [1, 2, 3]),
        ] {
            sort(&mut all, order);
            let ids: Vec<u64> = all.iter().map(|one| one.id).collect();
            assert_eq!(ids, expected, "{order:?}");
        }
    }

    #[test]
    fn detached_clients_hold_nothing_up() {
        let all = vec![connection(1, true, None), connection(2, false, None)];
        assert_eq!(that_hold_up(all.clone()), all[1..]);
    }
}
