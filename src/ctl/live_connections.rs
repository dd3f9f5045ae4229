//! `connections --watch`: who is connected, again and again.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::time::sleep;

use super::call::client::NamedProxy;
use super::call::patience::{LOST, Reconnection};
use super::connections::{heading, list, sort, table, why_nobody};
use super::failure::CtlFailure;
use super::options::ConnectionOrder;
use super::sleeper::sleeping_proxy::{self, ProxyActivity};
use super::terminal::display::fit;
use super::terminal::output;
use super::terminal::screen::Screen;
use super::upstream;
use crate::interface::ConnectionStatus;
use crate::service::program::note;

/// How often the proxy is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the connections until nobody reads that any more, or the proxy sleeps: on a terminal in place, elsewhere one
/// table after the other. A proxy that is being stopped is not connected to again: that would start it.
pub async fn run(
    proxy: &NamedProxy,
    order: ConnectionOrder,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let is_live = !as_json && io::stdout().is_terminal();
    let mut screen = Screen::new(io::stdout());
    let (mut client, mut reconnection) = (None, Reconnection::default());
    let mut was_ending = false;
    loop {
        let activity = activity(proxy, client.is_none()).await;
        let is_ending = activity == ProxyActivity::Ends;
        if is_ending && !was_ending {
            note("systemd stops the proxy: waiting for what comes next");
        }
        was_ending = is_ending;
        match activity {
            ProxyActivity::Sleeps(sleeper) => {
                note(why_nobody(proxy, &sleeper));
                return Ok(());
            }
            ProxyActivity::Ends => {
                pause().await?;
                continue;
            }
            ProxyActivity::Runs => {}
        }
        match list(proxy, &mut client).await {
            Ok(mut connections) => {
                reconnection.finish();
                sort(&mut connections, order);
                if is_live {
                    let why = upstream::why_they_wait(proxy, &connections).await;
                    screen.draw(&picture(&proxy.name, &connections, why, screen.size()));
                } else {
                    print(&connections, as_json)?;
                }
            }
            Err(failure) => {
                client = None;
                if reconnection.begin(&failure) {
                    note(LOST);
                }
                if !reconnection.pause(&failure).await {
                    return Err(failure);
                }
                continue;
            }
        }
        pause().await?;
    }
}

/// Waits until it is time to ask again. Fails when nobody reads any more.
async fn pause() -> Result<(), CtlFailure> {
    tokio::select! {
        () = sleep(EVERY) => Ok(()),
        () = output::reader_gone() => Err(CtlFailure::ReaderGone),
    }
}

/// What the proxy does, if it would be connected to next: that would start one that sleeps or ends. If systemd cannot be
/// asked, it runs.
async fn activity(proxy: &NamedProxy, is_next: bool) -> ProxyActivity {
    if !is_next {
        return ProxyActivity::Runs;
    }
    let found = sleeping_proxy::look(std::slice::from_ref(proxy)).await;
    let found = found.unwrap_or_default().into_iter().next();
    found.unwrap_or(ProxyActivity::Runs)
}

fn print(connections: &[ConnectionStatus], as_json: bool) -> Result<(), CtlFailure> {
    if as_json {
        return output::json(&connections);
    }
    table(connections).iter().try_for_each(output::line)?;
    output::line("")
}

/// What fits on a terminal of so many columns and rows.
fn picture(
    name: &str,
    connections: &[ConnectionStatus],
    why_some_wait: Option<String>,
    (columns, rows): (usize, usize),
) -> Vec<String> {
    let mut lines = vec![heading(name, connections)];
    lines.extend(why_some_wait);
    if !connections.is_empty() {
        // What is there, the headings, what is left out, and the line of the cursor.
        let room = rows.saturating_sub(lines.len() + 3).max(1);
        lines.extend(table(&connections[..connections.len().min(room)]));
        if let more @ 1.. = connections.len().saturating_sub(room) {
            lines.push(format!("… and {more} more"));
        }
    }
    lines.iter().map(|line| fit(line, columns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::connections::tests::connection;

    #[test]
    fn as_many_as_fit_are_shown_and_the_others_are_counted() {
        let all: Vec<_> = (1..=30).map(|id| connection(id, id > 28, None)).collect();
        for rows in [5, 10, 24] {
            let lines = picture("web", &all, None, (80, rows));
            assert_eq!(lines.len(), rows - 1);
            assert_eq!(lines[0], "web: 28 connections, 2 clients are detached");
            let more = format!("… and {} more", 34 - rows);
            assert_eq!(lines.last(), Some(&more));
        }
        assert_eq!(picture("web", &all, None, (80, 50)).len(), 32);
        assert_eq!(picture("web", &all, None, (7, 50))[0], "web: 28");
        assert_eq!(picture("web", &[], None, (80, 24)), ["web: 0 connections"]);
        let why = Some("upstream: not reached".to_owned());
        let lines = picture("web", &all, why, (80, 10));
        assert_eq!((lines.len(), &lines[1][..]), (9, "upstream: not reached"));
    }
}
