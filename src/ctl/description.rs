//! The status of a proxy as text. Pure.

use super::call::client::NamedProxy;
use super::drain_view::queued;
use super::terminal::display::{age, bytes};
use super::upstream;
use crate::interface::metrics::SurvivalCounts;
use crate::interface::{GateState, LeaseEnd, ListenerStatus, LockStatus, Status};
use crate::service::calendar::moment;
use crate::service::plural::{clause, count};

/// The whole status, a line for each field, as systemctl does it. `queued`: the number of clients in the queue from
/// addresses that hold up a drain; `now`: the time of day in microseconds since 1970.
pub fn describe(proxy: &NamedProxy, status: &Status, queued: usize, now: u64) -> Vec<String> {
    let gate = gate(status.gate, status.lock.as_ref(), now);
    let mut fields = vec![("Gate", gate)];
    if let Some(lock) = &status.lock {
        fields.extend(lease(lock).map(|text| ("Lease", text)));
        fields.extend(callers(lock).map(|text| ("Callers", text)));
    }
    fields.push(("Open", open(status)));
    fields.extend(requests(status).map(|text| ("Requests", text)));
    fields.extend(detached(status).map(|text| ("Detached", text)));
    fields.push(("Queued", queue(status, queued)));
    let listeners = status.listeners.iter();
    fields.extend(listeners.map(|socket| ("Listener", listener(socket))));
    let target = target(proxy, status.target.as_deref(), status.target_fixed);
    fields.push(("Target", target));
    fields.extend(upstream::describe(status, now).map(|text| ("Upstream", text)));
    let served = format!(
        "{} accepted since the process began, {} of them without reaching the target; {} received, {} sent",
        status.accepted,
        status.unreachable,
        bytes(status.received_bytes),
        bytes(status.sent_bytes),
    );
    fields.push(("Served", served));
    fields.extend(survived(status.survived).map(|text| ("Survived", text)));
    if status.refused > 0 {
        let reset = clause(status.refused, "client", ("was reset", "were reset"));
        let refused = format!("{reset}, of sources with as many connections as one may have");
        fields.push(("Refused", refused));
    }
    let process = format!("{}, version {}", status.pid, status.version);
    fields.push(("Process", process));
    let ignored = status.ignored_variables.iter();
    fields.extend(ignored.map(|text| {
        (
            "Ignored",
            format!("{text}; the next start may be refused for it"),
        )
    }));
    lines(&proxy.name, &fields)
}

/// A line for each field, below the name of the proxy.
pub fn lines(name: &str, fields: &[(&str, String)]) -> Vec<String> {
    let lines = fields
        .iter()
        .map(|(label, text)| format!("{label:>9}: {text}"));
    std::iter::once(format!("disnix-tcp-proxy {name}"))
        .chain(lines)
        .collect()
}

/// The gate, and since when and why it is locked.
pub fn gate(state: GateState, lock: Option<&LockStatus>, now: u64) -> String {
    let word = state.as_str();
    let Some(lock) = lock else {
        return word.to_owned();
    };
    let since = match lock.since_usec {
        0 => "an unknown time".to_owned(),
        since => format!("{} ({} ago)", moment(since), age(now.saturating_sub(since))),
    };
    let reason = lock.reason.as_ref();
    let reason = reason.map(|reason| format!(": {reason}"));
    format!("{word} since {since}{}", reason.unwrap_or_default())
}

/// When the lock ends by itself.
pub fn lease(lock: &LockStatus) -> Option<String> {
    let end = match lock.at_lease_end {
        LeaseEnd::Open => "the gate opens by itself",
        LeaseEnd::Exit => "the proxy ends",
    };
    lock.lease_left_usec
        .map(|left| format!("{end} in {}", age(left)))
}

fn callers(lock: &LockStatus) -> Option<String> {
    if lock.callers == 0 {
        return None;
    }
    let end = match (lock.kept, lock.callers) {
        (true, _) => "it stays when they have gone",
        (false, 1) => "it ends with that one",
        (false, _) => "it ends with the last of them",
    };
    let verbs = ("waits for or holds", "wait for or hold");
    let callers = clause(lock.callers, "caller", verbs);
    Some(format!("{callers} the lock; {end}"))
}

fn open(status: &Status) -> String {
    let before = match status.open_in_predecessor {
        0 => String::new(),
        count => format!(", {count} of them in the process that was taken over"),
    };
    let (open, most) = (status.open, status.connections_max);
    format!("{open} of at most {most}{before}")
}

fn requests(status: &Status) -> Option<String> {
    let kind = status.requests.as_ref()?;
    Some(match status.repeated {
        0 => kind.clone(),
        count => format!(
            "{kind}; {}",
            clause(count, "request", ("was repeated", "were repeated"))
        ),
    })
}

fn detached(status: &Status) -> Option<String> {
    let without_upstream = || {
        let clients = clause(status.detached, "client", ("stays", "stay"));
        format!("{clients}, without an upstream until the next request")
    };
    (status.detached > 0).then(without_upstream)
}

fn queue(status: &Status, queued: usize) -> String {
    let hint = match queued {
        0 => String::new(),
        _ => format!(
            ", {queued} of them from addresses that are still connected: {}",
            queued::MEANING
        ),
    };
    format!("{}{hint}", status.queued)
}

/// What connections have survived, if they have.
pub fn survived(counts: SurvivalCounts) -> Option<String> {
    let SurvivalCounts {
        kills,
        restored,
        given_up,
    } = counts;
    let connections = |number, verbs| clause(number, "connection", verbs);
    let parts = [
        (kills > 0).then(|| count(kills, "kill")),
        (restored > 0).then(|| connections(restored, ("went on", "went on"))),
        (given_up > 0).then(|| connections(given_up, ("was reset", "were reset"))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{}, since the boot", parts.join(", ")))
}

/// A listening socket and its clients.
pub fn listener(listener: &ListenerStatus) -> String {
    let owner = match listener.inherited {
        true => " (systemd's)",
        false => "",
    };
    let waiting = match (listener.waiting, listener.backlog) {
        (Some(waiting), Some(backlog)) => {
            format!(", {} queued, room for {backlog}", count(waiting, "client"))
        }
        (Some(waiting), None) => format!(", {} queued", count(waiting, "client")),
        // The kernel does not count the clients that wait on an AF_UNIX socket.
        (None, _) => String::new(),
    };
    format!("{}{owner}{waiting}", listener.address)
}

/// Where new connections go.
pub fn target(proxy: &NamedProxy, target: Option<&str>, is_fixed: bool) -> String {
    match target {
        Some(target) if is_fixed => {
            format!("{target} (fixed by the command line or DISNIX_TCP_PROXY_TARGET)")
        }
        Some(target) => target.to_owned(),
        None => format!(
            "none yet, so clients wait: `{}` sets it",
            proxy.command("set-target TARGET")
        ),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::ctl::call::client::tests::proxy;

    pub fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 42,
            gate: GateState::Open,
            lock: None,
            target: Some("[::1]:5000".to_owned()),
            target_fixed: true,
            upstream: None,
            requests: None,
            open: 3,
            open_in_predecessor: 0,
            connecting: 0,
            detached: 0,
            connections_max: 16384,
            queued: 0,
            accepted: 10,
            unreachable: 1,
            refused: 0,
            repeated: 0,
            received_bytes: 70,
            sent_bytes: 2048,
            survived: SurvivalCounts::default(),
            listeners: vec![ListenerStatus {
                address: "[::]:5001".to_owned(),
                inherited: true,
                waiting: Some(0),
                backlog: Some(4096),
            }],
            ignored_variables: Vec::new(),
        }
    }

    #[test]
    fn an_open_proxy_is_described() {
        assert_eq!(
            describe(&proxy(""), &status(), 0, 0),
            [
                "disnix-tcp-proxy default",
                "     Gate: open",
                "     Open: 3 of at most 16384",
                "   Queued: 0",
                " Listener: [::]:5001 (systemd's), 0 clients queued, room for 4096",
                "   Target: [::1]:5000 (fixed by the command line or DISNIX_TCP_PROXY_TARGET)",
                "   Served: 10 accepted since the process began, 1 of them without reaching the target; \
                 70 B received, 2.0 KiB sent",
                "  Process: 42, version 0.1.0",
            ]
        );
    }

    #[test]
    fn what_connections_have_survived_is_shown_if_there_was_anything() {
        for (kills, restored, given_up, text) in [
            (0, 0, 0, None),
            (0, 3, 0, Some("3 connections went on, since the boot")),
            (
                2,
                1,
                4,
                Some("2 kills, 1 connection went on, 4 connections were reset, since the boot"),
            ),
            (1, 0, 0, Some("1 kill, since the boot")),
        ] {
            let mut status = status();
            status.survived = SurvivalCounts {
                kills,
                restored,
                given_up,
            };
            let lines = describe(&proxy(""), &status, 0, 0);
            let shown = lines
                .iter()
                .find_map(|line| line.strip_prefix(" Survived: "));
            assert_eq!(shown, text);
        }
    }

    #[test]
    fn variables_of_no_option_are_shown_at_the_end() {
        let mut status = status();
        status.ignored_variables = vec!["no option has the variable X: Y was meant".to_owned()];
        let lines = describe(&proxy(""), &status, 0, 0);
        let shown = "  Ignored: no option has the variable X: Y was meant; the next start may be refused for it";
        assert_eq!(lines.last().map(String::as_str), Some(shown));
    }

    #[test]
    fn clients_that_stay_and_what_a_request_is_are_shown() {
        let mut status = status();
        (status.requests, status.detached) = (Some("http".to_owned()), 1);
        let shown = |status: &Status| describe(&proxy(""), status, 0, 0)[2..5].to_vec();
        assert_eq!(
            shown(&status),
            [
                "     Open: 3 of at most 16384",
                " Requests: http",
                " Detached: 1 client stays, without an upstream until the next request",
            ]
        );
        (status.repeated, status.detached) = (2, 0);
        assert_eq!(
            shown(&status)[1..],
            [" Requests: http; 2 requests were repeated", "   Queued: 0"]
        );
    }

    pub fn lock() -> LockStatus {
        LockStatus {
            reason: Some("upgrade to 2".to_owned()),
            since_usec: 1_000_000,
            lease_left_usec: Some(300_000_000),
            at_lease_end: LeaseEnd::Open,
            callers: 1,
            kept: false,
        }
    }

    #[test]
    fn a_lock_is_shown_with_its_begin_reason_lease_and_callers() {
        let mut status = status();
        (status.gate, status.target, status.lock) = (GateState::Locked, None, Some(lock()));
        let lines = describe(&proxy(""), &status, 0, 91_000_000);
        assert_eq!(
            &lines[1..4],
            [
                "     Gate: locked since 1970-01-01 00:00:01 UTC (1min 30s ago): upgrade to 2",
                "    Lease: the gate opens by itself in 5min",
                "  Callers: 1 caller waits for or holds the lock; it ends with that one",
            ]
        );
        let target =
            "   Target: none yet, so clients wait: `disnix-tcp-proxyctl set-target TARGET` sets it";
        assert!(lines.iter().any(|line| line == target), "{lines:#?}");
        let lines = describe(&proxy(" --instance web"), &status, 0, 91_000_000);
        let names_it =
            |line: &String| line.contains("`disnix-tcp-proxyctl --instance web set-target");
        assert!(lines.iter().any(names_it), "{lines:#?}");
    }

    #[test]
    fn a_lease_that_ends_the_proxy_and_connections_of_the_one_before_are_shown() {
        let mut status = status();
        status.open_in_predecessor = 2;
        status.lock = Some(LockStatus {
            at_lease_end: LeaseEnd::Exit,
            callers: 0,
            ..lock()
        });
        let lines = describe(&proxy(""), &status, 0, 91_000_000);
        assert_eq!(
            &lines[2..4],
            [
                "    Lease: the proxy ends in 5min",
                "     Open: 3 of at most 16384, 2 of them in the process that was taken over",
            ]
        );
    }
}
