//! `connections`: list the open connections.

use serde_json::json;
use tokio::time::timeout;

use super::client::{ANSWER_TIME, Client, NamedProxy};
use super::display::{self, Align, age, bytes};
use super::failure::CtlFailure;
use super::output;
use crate::interface::{ConnectionReply, ConnectionStatus};

pub async fn run(proxy: &NamedProxy, as_json: bool) -> Result<(), CtlFailure> {
    let connections = list(proxy, &mut None).await?;
    match as_json {
        true => output::json(&connections),
        false => table(&connections).iter().try_for_each(output::line),
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

pub fn table(connections: &[ConnectionStatus]) -> Vec<String> {
    let columns = [
        ("ID", Align::Right),
        ("PEER", Align::Left),
        ("UPSTREAM", Align::Left),
        ("AGE", Align::Right),
        ("IDLE", Align::Right),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
    ];
    let row = |connection: &ConnectionStatus| {
        let upstream = connection.upstream.as_deref();
        [
            connection.id.to_string(),
            connection.peer.clone(),
            upstream.unwrap_or("connecting").to_owned(),
            age(connection.age_usec),
            age(connection.idle_usec),
            bytes(connection.received_bytes),
            bytes(connection.sent_bytes),
        ]
    };
    display::table(columns, connections.iter().map(row))
}
