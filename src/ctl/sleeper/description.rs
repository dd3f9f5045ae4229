//! A sleeping proxy as text. Pure.

use super::left_state::Unread;
use super::sleeping_proxy::{SleepKind, Sleeper};
use crate::ctl::call::client::NamedProxy;
use crate::ctl::description::{gate, lease, lines, listener, survived, target};
use crate::ctl::terminal::display::age;
use crate::interface::saved::TARGET_FILE;
use crate::service::calendar::moment;
use crate::service::plural::count;

/// What is known of it, a line for each field; `now`: the time of day in microseconds since 1970.
pub fn describe(proxy: &NamedProxy, sleeper: &Sleeper, now: u64) -> Vec<String> {
    let unknown = || "unknown, see below".to_owned();
    let gate = |state| gate(state, sleeper.left.lock.as_ref(), now);
    let mut fields = vec![("Gate", sleeper.left.gate.map_or_else(unknown, gate))];
    let lease = sleeper.left.lock.as_ref().and_then(lease);
    fields.extend(lease.map(|text| ("Lease", text)));
    fields.push(("Open", open(sleeper)));
    fields.push(("Queued", sleeper.queued.to_string()));
    let listeners = sleeper.listeners.iter();
    fields.extend(listeners.map(|socket| ("Listener", listener(socket))));
    fields.push(("Target", target_of(proxy, sleeper)));
    let counts = sleeper.left.survived.unwrap_or_default();
    fields.extend(survived(counts).map(|text| ("Survived", text)));
    fields.push(("Process", process(sleeper, now)));
    fields.extend(
        sleeper
            .left
            .unread
            .iter()
            .map(|file| ("Unread", unread(proxy, file))),
    );
    lines(&proxy.name, &fields)
}

/// The word for the column of the gate in a list of proxies.
pub fn word(sleeper: &Sleeper) -> String {
    let process = sleeper.process.as_str();
    match &sleeper.left.lock {
        Some(_) => format!("locked, {process}"),
        None => process.to_owned(),
    }
}

/// The word for the column of the target.
pub fn target_word(sleeper: &Sleeper) -> &str {
    match &sleeper.left.target {
        Some(target) => target,
        None if is_target_known(sleeper) => "none yet",
        None => "unknown",
    }
}

/// The words for its connections, in one line with others.
pub fn open_word(sleeper: &Sleeper) -> String {
    let process = word(sleeper);
    match sleeper.open {
        Some(open) => format!("{process}, {}", count(open, "connection")),
        None => format!("{process}, {KEEPS}"),
    }
}

/// What systemd does where nobody knows how many are open.
const KEEPS: &str = "systemd keeps connections for the next process";

fn open(sleeper: &Sleeper) -> String {
    match sleeper.open {
        Some(open) => open.to_string(),
        None => format!("unknown: {KEEPS}"),
    }
}

fn target_of(proxy: &NamedProxy, sleeper: &Sleeper) -> String {
    let left = &sleeper.left;
    match is_target_known(sleeper) {
        true => target(proxy, left.target.as_deref(), left.target_fixed),
        false => "unknown, see below".to_owned(),
    }
}

fn is_target_known(sleeper: &Sleeper) -> bool {
    let is_of_target = |file: &Unread| file.file.ends_with(TARGET_FILE);
    sleeper.left.target.is_some() || !sleeper.left.unread.iter().any(is_of_target)
}

fn process(sleeper: &Sleeper, now: u64) -> String {
    let since = sleeper.since_usec.map(|since| {
        let ago = age(now.saturating_sub(since));
        format!(" since {} ({ago} ago)", moment(since))
    });
    let unit = &sleeper.unit;
    match (sleeper.process, since) {
        (SleepKind::Asleep, Some(since)) => {
            format!("asleep{since}: the next client or call starts {unit}")
        }
        (SleepKind::Asleep, None) => {
            format!("asleep since the boot: the first client or call starts {unit}")
        }
        (SleepKind::Failed, since) => format!(
            "failed{} ({}): see `journalctl -u {unit}`; the next client or call starts it again",
            since.unwrap_or_default(),
            sleeper.result
        ),
    }
}

fn unread(proxy: &NamedProxy, unread: &Unread) -> String {
    format!(
        "{} cannot be read ({}): become root, or have `{}` ask the proxy",
        unread.file.display(),
        unread.reason,
        proxy.command("status --wake")
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::ctl::call::client::tests::proxy;
    use crate::ctl::sleeper::left_state::LeftState;
    use crate::interface::metrics::SurvivalCounts;
    use crate::interface::{GateState, LeaseEnd, ListenerStatus, LockStatus};

    pub fn sleeper() -> Sleeper {
        Sleeper {
            process: SleepKind::Asleep,
            unit: "disnix-tcp-proxy@web.service".to_owned(),
            since_usec: Some(1_000_000),
            result: "success".to_owned(),
            left: LeftState {
                gate: Some(GateState::Open),
                target: Some("[::1]:5000".to_owned()),
                ..LeftState::default()
            },
            open: Some(0),
            queued: 0,
            listeners: vec![ListenerStatus {
                address: "[::]:5001".to_owned(),
                inherited: true,
                waiting: None,
                backlog: None,
            }],
        }
    }

    #[test]
    fn it_is_shown_since_when_it_sleeps_and_what_wakes_it() {
        assert_eq!(
            describe(&proxy(""), &sleeper(), 91_000_000),
            [
                "disnix-tcp-proxy default",
                "     Gate: open",
                "     Open: 0",
                "   Queued: 0",
                " Listener: [::]:5001 (systemd's)",
                "   Target: [::1]:5000",
                "  Process: asleep since 1970-01-01 00:00:01 UTC (1min 30s ago): the next client or call \
                 starts disnix-tcp-proxy@web.service",
            ]
        );
        let mut sleeper = sleeper();
        sleeper.left.survived = Some(SurvivalCounts {
            kills: 1,
            ..SurvivalCounts::default()
        });
        let lines = describe(&proxy(""), &sleeper, 0);
        assert_eq!(lines[6], " Survived: 1 kill, since the boot");
        sleeper.left.survived = Some(SurvivalCounts::default());
        sleeper.since_usec = None;
        let lines = describe(&proxy(""), &sleeper, 0);
        assert!(lines[6].starts_with("  Process: asleep since the boot: the first client"));
        assert_eq!(word(&sleeper), "asleep");
        assert_eq!(target_word(&sleeper), "[::1]:5000");
        sleeper.left.target = None;
        assert_eq!(target_word(&sleeper), "none yet");
    }

    #[test]
    fn the_clients_of_one_that_has_failed_and_its_lock_are_shown() {
        let mut sleeper = sleeper();
        (sleeper.process, sleeper.result) = (SleepKind::Failed, "exit-code".to_owned());
        (sleeper.queued, sleeper.left.gate) = (2, Some(GateState::Locked));
        sleeper.left.lock = Some(LockStatus {
            reason: Some("upgrade".to_owned()),
            since_usec: 1_000_000,
            lease_left_usec: Some(5_000_000),
            at_lease_end: LeaseEnd::Open,
            callers: 0,
            kept: true,
        });
        let lines = describe(&proxy(""), &sleeper, 2_000_000);
        assert_eq!(
            lines[1..5],
            [
                "     Gate: locked since 1970-01-01 00:00:01 UTC (1s ago): upgrade",
                "    Lease: the gate opens by itself in 5s",
                "     Open: 0",
                "   Queued: 2",
            ]
        );
        let process = &lines[7];
        let words =
            "failed since 1970-01-01 00:00:01 UTC (1s ago) (exit-code): see `journalctl -u ";
        assert!(process.contains(words), "{process}");
        assert_eq!(word(&sleeper), "locked, failed");
    }

    #[test]
    fn a_lock_that_cannot_be_understood_has_no_date() {
        let mut sleeper = sleeper();
        sleeper.left.gate = Some(GateState::Locked);
        sleeper.left.lock = Some(LockStatus {
            reason: Some("the lock cannot be read: x".to_owned()),
            since_usec: 0,
            lease_left_usec: None,
            at_lease_end: LeaseEnd::Open,
            callers: 0,
            kept: true,
        });
        assert_eq!(
            describe(&proxy(""), &sleeper, 2_000_000)[1],
            "     Gate: locked since an unknown time: the lock cannot be read: x"
        );
        let json = serde_json::to_value(&sleeper.left).unwrap();
        assert!(json["lock"].get("sinceUSec").is_none(), "{json}");
    }

    #[test]
    fn what_could_not_be_read_is_not_guessed() {
        let mut sleeper = sleeper();
        (sleeper.left.gate, sleeper.left.target, sleeper.open) = (None, None, None);
        sleeper.left.unread = ["/run/lock", "/var/target"]
            .map(|file| Unread {
                file: file.into(),
                reason: "Permission denied".to_owned(),
            })
            .to_vec();
        let lines = describe(&proxy(""), &sleeper, 0);
        assert_eq!(
            [&lines[1], &lines[2], &lines[5]],
            [
                "     Gate: unknown, see below",
                "     Open: unknown: systemd keeps connections for the next process",
                "   Target: unknown, see below",
            ]
        );
        assert_eq!(
            lines[7],
            "   Unread: /run/lock cannot be read (Permission denied): become root, or have \
             `disnix-tcp-proxyctl status --wake` ask the proxy"
        );
        assert_eq!(lines.len(), 9);
        assert_eq!(target_word(&sleeper), "unknown");
    }
}
