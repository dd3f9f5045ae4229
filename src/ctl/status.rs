//! `status`: the state of one proxy, or of all.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::client::Proxy;
use super::connections;
use super::display::{Align, age, bytes, moment, table};
use super::failure::Failure;
use super::output;
use super::queued;
use crate::interface::{GateState, LeaseEnd, ListenerStatus, LockStatus, Status, StatusReply};
use crate::service::clock::realtime_micros;
use crate::service::plural::{clause, count};

/// Shows one proxy in full, or several in a table.
///
/// # Errors
///
/// When the one proxy does not tell its state. Of several, one that cannot be reached is shown as
/// such.
pub async fn run(proxies: &[Proxy], as_json: bool) -> Result<(), Failure> {
    match proxies {
        [proxy] => {
            let status = get(proxy).await?;
            match as_json {
                true => output::json(&status),
                false => {
                    let queued = queued_of_connected(proxy, &status).await;
                    let now = realtime_micros();
                    print(&describe(&proxy.name, &status, queued, now))
                }
            }
        }
        several => {
            let entries = entries(several).await;
            match as_json {
                true => output::json(&entries),
                false => print(&overview(&entries)),
            }
        }
    }
}

/// How many clients wait in the queue from addresses that hold up a drain, as far as that can be seen.
async fn queued_of_connected(proxy: &Proxy, status: &Status) -> usize {
    if status.gate != GateState::Draining || status.queued == 0 {
        return 0;
    }
    let open = connections::list(proxy, &mut None).await;
    open.map_or(0, |open| queued::of_connected(&status.listeners, &open))
}

fn print(lines: &[String]) -> Result<(), Failure> {
    lines.iter().try_for_each(output::line)
}

/// Asks a proxy for its state.
///
/// # Errors
///
/// When it cannot be reached.
pub async fn get(proxy: &Proxy) -> Result<Status, Failure> {
    Ok(proxy
        .ask::<StatusReply>("GetStatus", json!({}))
        .await?
        .status)
}

/// One proxy of several.
#[derive(Debug, Serialize)]
struct Entry {
    instance: String,
    control: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn entries(proxies: &[Proxy]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for proxy in proxies {
        let (status, error) = match get(proxy).await {
            Ok(status) => (Some(status), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let (instance, control) = (proxy.name.clone(), proxy.control.clone());
        entries.push(Entry {
            instance,
            control,
            status,
            error,
        });
    }
    entries
}

fn overview(entries: &[Entry]) -> Vec<String> {
    let columns = [
        ("INSTANCE", Align::Left),
        ("GATE", Align::Left),
        ("OPEN", Align::Right),
        ("QUEUED", Align::Right),
        ("TARGET", Align::Left),
    ];
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.status {
            Some(status) => [
                entry.instance.clone(),
                gate_word(status.gate).to_owned(),
                status.open.to_string(),
                status.queued.to_string(),
                status
                    .target
                    .clone()
                    .unwrap_or_else(|| "none yet".to_owned()),
            ],
            None => {
                let none = || "–".to_owned();
                let error = entry.error.clone().unwrap_or_else(none);
                [
                    entry.instance.clone(),
                    "unreachable".to_owned(),
                    none(),
                    none(),
                    error,
                ]
            }
        })
        .collect();
    table(columns, &rows)
}

/// The gate as people read it.
pub fn gate_word(gate: GateState) -> &'static str {
    match gate {
        GateState::Open => "open",
        GateState::Draining => "draining",
        GateState::Locked => "locked",
    }
}

/// Everything, a line for each thing, as systemctl does it. So many clients wait in the queue from addresses
/// that hold up a drain; `now` is the time of day.
fn describe(name: &str, status: &Status, queued: usize, now: u64) -> Vec<String> {
    let mut lines = vec![format!("disnix-tcp-proxy {name}")];
    let mut add = |label: &str, text: String| lines.push(format!("{label:>9}: {text}"));
    add("Gate", gate(status, now));
    if let Some(lock) = &status.lock {
        if let Some(left) = lock.lease_left_usec {
            let what = match lock.at_lease_end {
                LeaseEnd::Open => "the gate opens by itself",
                LeaseEnd::Exit => "the proxy ends",
            };
            add("Lease", format!("{what} in {}", age(left)));
        }
        if let Some(callers) = callers(lock) {
            add("Callers", callers);
        }
    }
    let before = match status.open_in_predecessor {
        0 => String::new(),
        count => format!(", {count} of them in the process that was taken over"),
    };
    add(
        "Open",
        format!(
            "{} of at most {}{before}",
            status.open, status.connections_max
        ),
    );
    let hint = match queued {
        0 => String::new(),
        _ => format!(
            ", {queued} of them from addresses that are still connected: {}",
            queued::MEANING
        ),
    };
    add("Queued", format!("{}{hint}", status.queued));
    for listener in &status.listeners {
        add("Listener", describe_listener(listener));
    }
    add("Target", target(status));
    add(
        "Served",
        format!(
            "{} accepted, {} of them without reaching the target; {} received, {} sent",
            status.accepted,
            status.unreachable,
            bytes(status.received_bytes),
            bytes(status.sent_bytes),
        ),
    );
    if status.refused > 0 {
        let reset = clause(status.refused, "client", ("was reset", "were reset"));
        add(
            "Refused",
            format!("{reset}, of sources with as many connections as one may have"),
        );
    }
    add(
        "Process",
        format!("{}, version {}", status.pid, status.version),
    );
    lines
}

fn gate(status: &Status, now: u64) -> String {
    let word = gate_word(status.gate);
    let Some(lock) = &status.lock else {
        return word.to_owned();
    };
    let ago = age(now.saturating_sub(lock.since_usec));
    let reason = lock
        .reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    format!(
        "{word} since {} ({ago} ago){reason}",
        moment(lock.since_usec)
    )
}

fn callers(lock: &LockStatus) -> Option<String> {
    if lock.callers == 0 {
        return None;
    }
    let then = match (lock.kept, lock.callers) {
        (true, _) => "it stays when they have gone",
        (false, 1) => "it ends with that one",
        (false, _) => "it ends with the last of them",
    };
    let callers = clause(
        lock.callers,
        "caller",
        ("waits for or holds", "wait for or hold"),
    );
    Some(format!("{callers} the lock; {then}"))
}

fn describe_listener(listener: &ListenerStatus) -> String {
    let owner = if listener.inherited {
        " (systemd's)"
    } else {
        ""
    };
    let waiting = match (listener.waiting, listener.backlog) {
        (Some(waiting), Some(most)) => {
            format!(", {} waiting, room for {most}", count(waiting, "client"))
        }
        (Some(waiting), None) => format!(", {} waiting", count(waiting, "client")),
        // The kernel does not say who waits on an AF_UNIX socket.
        (None, _) => String::new(),
    };
    format!("{}{owner}{waiting}", listener.address)
}

/// The two ways to fix a target.
const FIXED_BY: &str = "the command line or DISNIX_TCP_PROXY_TARGET";

fn target(status: &Status) -> String {
    match &status.target {
        Some(target) if status.target_fixed => format!("{target} (fixed by {FIXED_BY})"),
        Some(target) => target.clone(),
        None => "none yet, so clients wait: `disnix-tcp-proxyctl set-target` sets it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 42,
            gate: GateState::Open,
            lock: None,
            target: Some("[::1]:5000".to_owned()),
            target_fixed: true,
            open: 3,
            open_in_predecessor: 0,
            connections_max: 16384,
            queued: 0,
            accepted: 10,
            unreachable: 1,
            refused: 0,
            received_bytes: 70,
            sent_bytes: 2048,
            listeners: vec![ListenerStatus {
                address: "[::]:5001".to_owned(),
                inherited: true,
                waiting: Some(0),
                backlog: Some(4096),
            }],
        }
    }

    #[test]
    fn an_open_proxy_is_described() {
        assert_eq!(
            describe("default", &status(), 0, 0),
            [
                "disnix-tcp-proxy default",
                "     Gate: open",
                "     Open: 3 of at most 16384",
                "   Queued: 0",
                " Listener: [::]:5001 (systemd's), 0 clients waiting, room for 4096",
                "   Target: [::1]:5000 (fixed by the command line or DISNIX_TCP_PROXY_TARGET)",
                "   Served: 10 accepted, 1 of them without reaching the target; 70 B received, \
                 2.0 KiB sent",
                "  Process: 42, version 0.1.0",
            ]
        );
    }

    #[test]
    fn of_a_lock_one_sees_since_when_why_how_long_and_for_whom() {
        let mut locked = status();
        locked.gate = GateState::Locked;
        locked.target = None;
        locked.lock = Some(LockStatus {
            reason: Some("upgrade to 2".to_owned()),
            since_usec: 1_000_000,
            lease_left_usec: Some(300_000_000),
            at_lease_end: LeaseEnd::Open,
            callers: 1,
            kept: false,
        });
        let lines = describe("default", &locked, 0, 91_000_000);
        assert_eq!(
            &lines[1..4],
            [
                "     Gate: locked since 1970-01-01 00:00:01 UTC (1min 30s ago): upgrade to 2",
                "    Lease: the gate opens by itself in 5min",
                "  Callers: 1 caller waits for or holds the lock; it ends with that one",
            ]
        );
        assert!(
            lines.iter().any(|line| line.contains("Target: none yet")),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_lease_that_ends_the_proxy_and_connections_of_the_one_before_are_told() {
        let mut locked = status();
        locked.open_in_predecessor = 2;
        locked.lock = Some(LockStatus {
            reason: None,
            since_usec: 1_000_000,
            lease_left_usec: Some(60_000_000),
            at_lease_end: LeaseEnd::Exit,
            callers: 0,
            kept: true,
        });
        let lines = describe("default", &locked, 0, 91_000_000);
        assert_eq!(
            &lines[2..4],
            [
                "    Lease: the proxy ends in 1min",
                "     Open: 3 of at most 16384, 2 of them in the process that was taken over",
            ]
        );
    }

    #[test]
    fn of_several_proxies_each_has_a_line_also_one_that_is_away() {
        let entry = |name: &str, status: Option<Status>| Entry {
            instance: name.to_owned(),
            control: name.into(),
            error: status.is_none().then(|| "it is away".to_owned()),
            status,
        };
        assert_eq!(
            overview(&[entry("api", Some(status())), entry("web", None)]),
            [
                "INSTANCE  GATE         OPEN  QUEUED  TARGET",
                "api       open            3       0  [::1]:5000",
                "web       unreachable     –       –  it is away",
            ]
        );
    }
}
