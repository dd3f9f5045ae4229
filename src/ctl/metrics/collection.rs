//! `metrics`: what monitoring reads, of all proxies.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::families::{Observed, families};
use super::open_metrics;
use super::values::ProxyState;
use crate::ctl::call::client::NamedProxy;
use crate::ctl::failure::CtlFailure;
use crate::ctl::find::Selection;
use crate::ctl::sleeper::sleeping_proxy::{self, Sleeper};
use crate::ctl::sockets;
use crate::ctl::systemd;
use crate::ctl::terminal::output;

/// The time limit for one proxy. Prometheus waits for all together, ten seconds by default.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Prints the metrics of the proxy that is meant, or of all.
pub async fn run(selection: &Selection, wakes: bool) -> Result<(), CtlFailure> {
    let text = text(selection, wakes).await?;
    text.lines().try_for_each(output::line)
}

/// The metrics as text, of what is [`observed`].
pub async fn text(selection: &Selection, wakes: bool) -> Result<String, CtlFailure> {
    let observed = observed(selection, wakes).await?;
    Ok(open_metrics::text(&families(&observed)))
}

/// What is known of the proxies. One that sleeps is asked only if `wakes`. That there is no proxy is no failure.
pub async fn observed(selection: &Selection, wakes: bool) -> Result<Vec<Observed>, CtlFailure> {
    let proxies = match selection.all(Path::new(sockets::DIRECTORY)) {
        Err(CtlFailure::NoProxy(_)) => Vec::new(),
        proxies => proxies?,
    };
    let sleepers = match wakes {
        true => vec![None; proxies.len()],
        false => sleepers(&proxies).await?,
    };
    Ok(observe(proxies, sleepers).await)
}

/// Those that sleep. Where systemd runs and cannot be asked nobody knows which do, and to ask them all would start them.
async fn sleepers(proxies: &[NamedProxy]) -> Result<Vec<Option<Sleeper>>, CtlFailure> {
    match sleeping_proxy::find(proxies).await {
        Ok(sleepers) => Ok(sleepers),
        Err(error) if systemd::runs() => Err(CtlFailure::Systemd(error)),
        Err(_) => Ok(vec![None; proxies.len()]),
    }
}

/// Asks all that do not sleep, at the same time.
async fn observe(proxies: Vec<NamedProxy>, sleepers: Vec<Option<Sleeper>>) -> Vec<Observed> {
    let mut asked = JoinSet::new();
    for (number, (proxy, sleeper)) in proxies.into_iter().zip(sleepers).enumerate() {
        asked.spawn(async move {
            let state = match sleeper {
                Some(sleeper) => ProxyState::Sleeping(sleeper.into()),
                None => ask(&proxy).await,
            };
            (number, (proxy.name, state))
        });
    }
    let mut observed = asked.join_all().await;
    observed.sort_by_key(|(number, _)| *number);
    observed.into_iter().map(|(_, proxy)| proxy).collect()
}

async fn ask(proxy: &NamedProxy) -> ProxyState {
    let reply = proxy.ask_once(ANSWER_TIME, "GetMetrics", json!({})).await;
    match reply {
        Ok(reply) => ProxyState::Running(Box::new(reply)),
        Err(CtlFailure::Outdated { .. }) => ProxyState::Outdated,
        Err(_) => ProxyState::Unreachable,
    }
}
