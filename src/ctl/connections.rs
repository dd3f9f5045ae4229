//! `connections`: who is connected.

use serde_json::json;
use tokio::time::timeout;

use super::client::{ANSWER_TIME, Client, Proxy};
use super::display::{Align, age, bytes, table as lines};
use super::failure::Failure;
use super::output;
use crate::interface::{ConnectionReply, ConnectionStatus};

/// Lists the open connections.
///
/// # Errors
///
/// When the proxy cannot be reached.
pub async fn run(proxy: &Proxy, as_json: bool) -> Result<(), Failure> {
    let found = list(proxy, &mut None).await?;
    match as_json {
        true => output::json(&found),
        false => table(&found).iter().try_for_each(output::line),
    }
}

/// Asks for all open connections, by `client` if there is one; one that is made stays there for the
/// next time.
///
/// # Errors
///
/// When the proxy cannot be reached. The client is of no more use then.
pub async fn list(
    proxy: &Proxy,
    client: &mut Option<Client>,
) -> Result<Vec<ConnectionStatus>, Failure> {
    let answers = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(proxy.connect().await?),
        };
        client.call("ListConnections", json!({}), true).await?;
        let mut found = Vec::new();
        loop {
            let answer = client.reply::<ConnectionReply>().await?;
            found.extend(answer.parameters.connection);
            if !answer.continues {
                return Ok(found);
            }
        }
    };
    match timeout(ANSWER_TIME, answers).await {
        Ok(result) => result,
        Err(_) => Err(proxy.silent(ANSWER_TIME)),
    }
}

/// A line for each connection below the headings.
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
    let rows: Vec<_> = connections
        .iter()
        .map(|one| {
            [
                one.id.to_string(),
                one.peer.clone(),
                one.upstream
                    .clone()
                    .unwrap_or_else(|| "connecting".to_owned()),
                age(one.age_usec),
                age(one.idle_usec),
                bytes(one.received_bytes),
                bytes(one.sent_bytes),
            ]
        })
        .collect();
    lines(columns, &rows)
}
