//! `status`: the state of one proxy, or of all.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::call::client::{ANSWER_TIME, NamedProxy};
use super::connections;
use super::description::describe;
use super::drain_view::queued;
use super::failure::CtlFailure;
use super::sleeper::description as sleeper_description;
use super::sleeper::sleeping_proxy::{self, Sleeper};
use super::terminal::colour;
use super::terminal::display::{Align, table};
use super::terminal::output;
use super::upstream;
use crate::interface::{GateState, Status, StatusReply};
use crate::service::clock::realtime_micros;

/// The heading of the states.
const GATE: &str = "GATE";

/// Shows one proxy in full, or several in a table, in which one that cannot be reached has a line too. One that sleeps
/// is asked only if `wakes`, or if systemd does not say that it sleeps.
pub async fn run(proxies: &[NamedProxy], wakes: bool, as_json: bool) -> Result<(), CtlFailure> {
    let found = match wakes {
        true => None,
        // Without systemd none sleeps; where systemd cannot be asked, only the proxy can say more.
        false => sleeping_proxy::find(proxies).await.ok(),
    };
    let sleepers = found.unwrap_or_else(|| vec![None; proxies.len()]);
    let lines = match (proxies, &sleepers[..]) {
        ([proxy], [Some(sleeper)]) => {
            if as_json {
                return output::json(sleeper);
            }
            sleeper_description::describe(proxy, sleeper, realtime_micros())
        }
        ([proxy], _) => {
            let status = get(proxy).await?;
            if as_json {
                return output::json(&status);
            }
            let queued = queued_of_connected(proxy, &status).await;
            describe(proxy, &status, queued, realtime_micros())
        }
        (several, _) => {
            let entries = entries(several, sleepers).await;
            if as_json {
                return output::json(&entries);
            }
            let lines = overview(&entries);
            let at = colour::below(&lines[0], GATE);
            return lines
                .iter()
                .try_for_each(|line| output::state_line(line, at));
        }
    };
    let mut lines = lines.iter();
    lines.try_for_each(|line| output::state_line(line, colour::behind_label(line)))
}

/// The number of clients in the queue from addresses that hold up a drain, as far as it can be seen.
async fn queued_of_connected(proxy: &NamedProxy, status: &Status) -> usize {
    if status.gate != GateState::Draining || status.queued == 0 {
        return 0;
    }
    let open = connections::list(proxy, &mut None).await;
    open.map(connections::that_hold_up)
        .map_or(0, |open| queued::of_connected(&status.listeners, &open))
}

pub async fn get(proxy: &NamedProxy) -> Result<Status, CtlFailure> {
    let reply: StatusReply = proxy.ask(ANSWER_TIME, "GetStatus", json!({})).await?;
    Ok(reply.status)
}

/// One proxy of several.
#[derive(Serialize)]
struct Entry {
    instance: String,
    control: PathBuf,
    #[serde(flatten)]
    state: EntryState,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum EntryState {
    Status(Box<Status>),
    Sleeping(Box<Sleeper>),
    Error(String),
}

async fn entries(proxies: &[NamedProxy], sleepers: Vec<Option<Sleeper>>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (proxy, sleeper) in proxies.iter().zip(sleepers) {
        let state = match sleeper {
            Some(sleeper) => EntryState::Sleeping(sleeper.into()),
            None => match get(proxy).await {
                Ok(status) => EntryState::Status(status.into()),
                Err(failure) => EntryState::Error(failure.to_string()),
            },
        };
        entries.push(Entry {
            instance: proxy.name.clone(),
            control: proxy.control.clone(),
            state,
        });
    }
    entries
}

fn overview(entries: &[Entry]) -> Vec<String> {
    let columns = [
        ("INSTANCE", Align::Left),
        (GATE, Align::Left),
        ("OPEN", Align::Right),
        ("QUEUED", Align::Right),
        ("TARGET", Align::Left),
    ];
    let row = |entry: &Entry| {
        let [gate, open, queued, target] = match &entry.state {
            EntryState::Status(status) => [
                status.gate.as_str(),
                &status.open.to_string(),
                &status.queued.to_string(),
                &format!(
                    "{}{}",
                    status.target.as_deref().unwrap_or("none yet"),
                    upstream::mark(status)
                ),
            ]
            .map(str::to_owned),
            EntryState::Sleeping(sleeper) => [
                sleeper_description::word(sleeper),
                sleeper
                    .open
                    .map_or("kept".to_owned(), |open| open.to_string()),
                sleeper.queued.to_string(),
                sleeper_description::target_word(sleeper).to_owned(),
            ],
            EntryState::Error(error) => ["unreachable", "–", "–", error].map(str::to_owned),
        };
        [entry.instance.clone(), gate, open, queued, target]
    };
    table(columns, entries.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::description::tests::status;
    use crate::ctl::sleeper::description::tests::sleeper;

    #[test]
    fn of_several_proxies_each_has_a_line_also_one_that_is_away() {
        let entry = |name: &str, state| Entry {
            instance: name.to_owned(),
            control: name.into(),
            state,
        };
        let up = EntryState::Status(status().into());
        let away = EntryState::Error("it is away".to_owned());
        let sleeping = EntryState::Sleeping(sleeper().into());
        assert_eq!(
            overview(&[entry("api", up), entry("db", sleeping), entry("web", away)]),
            [
                "INSTANCE  GATE         OPEN  QUEUED  TARGET",
                "api       open            3       0  [::1]:5000",
                "db        asleep          0       0  [::1]:5000",
                "web       unreachable     –       –  it is away",
            ]
        );
    }
}
