//! `connections` of several proxies, each below its name. One that sleeps is not started.

use std::path::PathBuf;

use serde::Serialize;

use super::call::client::NamedProxy;
use super::connections::{heading, list, sort, table};
use super::failure::CtlFailure;
use super::options::ConnectionOrder;
use super::sleeper::description::open_word;
use super::sleeper::sleeping_proxy::{self, Sleeper};
use super::terminal::output;
use super::upstream;
use crate::interface::ConnectionStatus;
use crate::service::program::note;

/// Lists the connections of all of these proxies. One that cannot be reached is shown with the reason.
pub async fn run(
    proxies: &[NamedProxy],
    order: Option<ConnectionOrder>,
    as_json: bool,
) -> Result<(), CtlFailure> {
    // Without systemd none sleeps; where systemd cannot be asked, only the proxy can say more.
    let found = sleeping_proxy::find(proxies).await.ok();
    let sleepers = found.unwrap_or_else(|| vec![None; proxies.len()]);
    let mut groups = Vec::new();
    for (proxy, sleeper) in proxies.iter().zip(sleepers) {
        groups.push(ProxyConnections {
            instance: proxy.name.clone(),
            control: proxy.control.clone(),
            listed: listed(proxy, sleeper, order).await,
        });
    }
    if as_json {
        return output::json(&groups);
    }
    lines(&groups).iter().try_for_each(output::line)?;
    for (proxy, group) in proxies.iter().zip(&groups) {
        if let Listed::Connections(connections) = &group.listed {
            let why = upstream::why_they_wait(proxy, connections).await;
            why.iter()
                .for_each(|why| note(format_args!("{}: {why}", proxy.name)));
        }
    }
    Ok(())
}

/// One proxy of several.
#[derive(Serialize)]
struct ProxyConnections {
    instance: String,
    control: PathBuf,
    #[serde(flatten)]
    listed: Listed,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Listed {
    Connections(Vec<ConnectionStatus>),
    Sleeping(Box<Sleeper>),
    Error(String),
}

async fn listed(
    proxy: &NamedProxy,
    sleeper: Option<Sleeper>,
    order: Option<ConnectionOrder>,
) -> Listed {
    if let Some(sleeper) = sleeper {
        return Listed::Sleeping(sleeper.into());
    }
    match list(proxy, &mut None).await {
        Ok(mut connections) => {
            if let Some(order) = order {
                sort(&mut connections, order);
            }
            Listed::Connections(connections)
        }
        Err(failure) => Listed::Error(failure.to_string()),
    }
}

/// A line with the name of each proxy, with a table below it if there are connections.
fn lines(groups: &[ProxyConnections]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_after_table = false;
    for ProxyConnections {
        instance, listed, ..
    } in groups
    {
        let (first, below) = match listed {
            Listed::Connections(connections) => {
                let is_empty = connections.is_empty();
                let rows = (!is_empty).then(|| table(connections));
                (heading(instance, connections), rows.unwrap_or_default())
            }
            Listed::Sleeping(sleeper) => (format!("{instance}: {}", open_word(sleeper)), vec![]),
            Listed::Error(why) => (format!("{instance}: {why}"), vec![]),
        };
        let has_table = !below.is_empty();
        if is_after_table || has_table && !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(first);
        lines.extend(below);
        is_after_table = has_table;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::connections::tests::connection;
    use crate::ctl::sleeper::description::tests::sleeper;

    fn group(name: &str, listed: Listed) -> ProxyConnections {
        ProxyConnections {
            instance: name.to_owned(),
            control: name.into(),
            listed,
        }
    }

    fn connected(ids: std::ops::Range<u64>) -> Listed {
        Listed::Connections(ids.map(|id| connection(id, false, None)).collect())
    }

    #[test]
    fn each_proxy_has_a_line_and_a_table_if_somebody_is_connected() {
        let asleep = || Listed::Sleeping(sleeper().into());
        let mut kept = sleeper();
        kept.open = None;
        let groups = [
            group("api", connected(1..3)),
            group("cache", connected(1..1)),
            group("db", asleep()),
            group("kept", Listed::Sleeping(kept.into())),
            group("mail", Listed::Error("it is away".to_owned())),
            group("web", connected(7..8)),
        ];
        assert_eq!(
            lines(&groups),
            [
                "api: 2 connections",
                "ID  PEER         UPSTREAM  AGE  IDLE  RECEIVED  SENT",
                " 1  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B",
                " 2  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B",
                "",
                "cache: 0 connections",
                "db: asleep, 0 connections",
                "kept: asleep, systemd keeps connections for the next process",
                "mail: it is away",
                "",
                "web: 1 connection",
                "ID  PEER         UPSTREAM  AGE  IDLE  RECEIVED  SENT",
                " 7  192.0.2.1:4  [::1]:80   0s    0s       7 B   0 B",
            ]
        );
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn json_has_an_object_for_each_proxy() {
        let groups = [
            group("api", connected(1..2)),
            group("db", Listed::Sleeping(sleeper().into())),
            group("web", Listed::Error("it is away".to_owned())),
        ];
        let json = serde_json::to_value(groups).unwrap();
        assert_eq!(json[0]["instance"], "api");
        assert_eq!(json[0]["connections"][0]["id"], 1);
        assert_eq!(json[1]["sleeping"]["process"], "asleep");
        assert_eq!(json[2]["error"], "it is away");
    }
}
