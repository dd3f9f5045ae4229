//! Proxies that sleep: no process runs, and systemd starts one for the next client or call. What is known of one comes
//! from systemd and from the files that the last process has left, so that nobody wakes it.

use std::cell::LazyCell;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::left_state::{FilePlaces, LeftState};
use crate::ctl::call::client::NamedProxy;
use crate::ctl::drain_view::queued::QueueLists;
use crate::ctl::systemd::{self, SystemdError, UnitProperties};
use crate::interface::ListenerStatus;
use crate::service::clock::{micros, realtime_micros};

/// The properties of a socket that are looked at.
const OF_SOCKETS: [&str; 3] = ["Listen", "Triggers", "ActiveState"];

/// The properties of a service that are looked at.
const OF_SERVICES: [&str; 11] = [
    "Type",
    "ActiveState",
    "Job",
    "Result",
    "InactiveEnterTimestampMonotonic",
    "NFileDescriptorStore",
    "RuntimeDirectory",
    "StateDirectory",
    "ExecStart",
    "Environment",
    "EnvironmentFiles",
];

/// Why no process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SleepKind {
    /// The last one has ended in order, or there was none since the boot.
    Asleep,
    /// It has failed, or could not be started.
    Failed,
}

impl SleepKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Failed => "failed",
        }
    }
}

/// A proxy of which no process runs. The fields that a running one has too are called as in its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sleeper {
    pub process: SleepKind,
    pub unit: String,
    /// Since when, microseconds since 1970; absent: no process ran since the boot.
    #[serde(rename = "sinceUSec", skip_serializing_if = "Option::is_none")]
    pub since_usec: Option<u64>,
    /// How the last process has ended, in the words of systemd.
    pub result: String,
    #[serde(flatten)]
    pub left: LeftState,
    /// Absent: systemd keeps connections, and nobody knows how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<usize>,
    /// The clients that wait, on sockets of TCP.
    pub queued: usize,
    pub listeners: Vec<ListenerStatus>,
}

/// What systemd says about a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyActivity {
    /// It runs or starts, or systemd does not know it.
    Runs,
    /// It is being stopped. A call that it does not take any more would start the next process.
    Ends,
    /// No process runs.
    Sleeps(Box<Sleeper>),
}

/// Which of these proxies sleep, in the same order. One that is not known to systemd is not among them.
/// Fails if systemd cannot be asked.
pub async fn find(proxies: &[NamedProxy]) -> Result<Vec<Option<Sleeper>>, SystemdError> {
    let sleeper = |activity: ProxyActivity| match activity {
        ProxyActivity::Sleeps(sleeper) => Some(*sleeper),
        ProxyActivity::Runs | ProxyActivity::Ends => None,
    };
    Ok(look(proxies).await?.into_iter().map(sleeper).collect())
}

/// What these proxies do, in the same order. Fails if systemd cannot be asked.
pub async fn look(proxies: &[NamedProxy]) -> Result<Vec<ProxyActivity>, SystemdError> {
    let sockets = systemd::matching("*.socket", &OF_SOCKETS).await?;
    let path = |proxy: &NamedProxy| absolute(&proxy.control).unwrap_or_default();
    let controls: Vec<PathBuf> = proxies.iter().map(path).collect();
    let behind = |control: &PathBuf| services_behind(&sockets, control);
    let services: Vec<Vec<&str>> = controls.iter().map(behind).collect();
    let all: Vec<&str> = services.iter().flatten().copied().collect();
    let mut states = systemd::each(&all, &OF_SERVICES).await?.into_iter();
    // Read when the first one sleeps.
    let lists = LazyCell::new(QueueLists::read);
    let activity = |(control, services): (&PathBuf, &Vec<&str>)| {
        let states: Vec<_> = states.by_ref().take(services.len()).collect();
        let mut units = services.iter().zip(states);
        let Some((unit, state)) = units.find(|(_, state)| serves(state)) else {
            return ProxyActivity::Runs;
        };
        if let Some(kind) = sleeps(&state) {
            let listeners = listeners_of(&sockets, unit, control);
            let sleeper = sleeper_of(unit, kind, &state, control, listeners, &lists);
            return ProxyActivity::Sleeps(sleeper.into());
        }
        match state.get("ActiveState") {
            "deactivating" => ProxyActivity::Ends,
            _ => ProxyActivity::Runs,
        }
    };
    Ok(controls.iter().zip(&services).map(activity).collect())
}

/// The services of this control socket: the one that a call starts, and others that get the socket too.
fn services_behind<'a>(sockets: &'a [UnitProperties], control: &Path) -> Vec<&'a str> {
    let listens = |socket: &&UnitProperties| listens(socket).any(|at| Path::new(at) == control);
    let socket = sockets.iter().filter(is_open).find(listens);
    socket.map_or_else(Vec::new, |socket| triggers(socket).collect())
}

fn triggers(socket: &UnitProperties) -> impl Iterator<Item = &str> {
    socket.get("Triggers").split_whitespace()
}

/// Whether it is a proxy. The unit that pauses between two starts is none, and gets the same sockets.
fn serves(service: &UnitProperties) -> bool {
    service.get("Type") != "oneshot"
}

/// Where clients of the service arrive.
fn listeners_of(sockets: &[UnitProperties], service: &str, control: &Path) -> Vec<String> {
    let is_of_service = |socket: &&UnitProperties| triggers(socket).any(|unit| unit == service);
    let sockets = sockets.iter().filter(is_open).filter(is_of_service);
    let all = sockets.flat_map(listens);
    all.filter(|at| Path::new(at) != control)
        .map(str::to_owned)
        .collect()
}

fn is_open(socket: &&UnitProperties) -> bool {
    socket.get("ActiveState") == "active"
}

/// `/run/web.sock` of `/run/web.sock (Stream)`.
fn listens(socket: &UnitProperties) -> impl Iterator<Item = &str> {
    let without_kind = |listen: &'_ str| listen.rfind(" (").unwrap_or(listen.len());
    socket
        .all("Listen")
        .map(move |listen| &listen[..without_kind(listen)])
}

/// Whether no process runs, and none is being started or ended.
fn sleeps(service: &UnitProperties) -> Option<SleepKind> {
    if !["", "0"].contains(&service.get("Job")) {
        return None;
    }
    match service.get("ActiveState") {
        "inactive" => Some(SleepKind::Asleep),
        "failed" => Some(SleepKind::Failed),
        _ => None,
    }
}

fn sleeper_of(
    unit: &str,
    process: SleepKind,
    state: &UnitProperties,
    control: &Path,
    listeners: Vec<String>,
    lists: &QueueLists,
) -> Sleeper {
    let keeps_none = ["", "0"].contains(&state.get("NFileDescriptorStore"));
    Sleeper {
        process,
        unit: unit.to_owned(),
        since_usec: since(state.get("InactiveEnterTimestampMonotonic")),
        result: state.get("Result").to_owned(),
        left: LeftState::read(&FilePlaces::of(state, control)),
        open: keeps_none.then_some(0),
        queued: lists.waiting(&listeners),
        listeners: listeners.into_iter().map(listener).collect(),
    }
}

/// A socket of systemd; the clients of each are not counted.
fn listener(address: String) -> ListenerStatus {
    ListenerStatus {
        address,
        inherited: true,
        waiting: None,
        backlog: None,
    }
}

/// The time of day of a moment on systemd's clock, clock_gettime(2); that of no moment is 0.
fn since(monotonic: &str) -> Option<u64> {
    let then: u64 = monotonic.parse().ok().filter(|then| *then > 0)?;
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).ok()?;
    realtime_micros().checked_sub(micros(now).checked_sub(then)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::systemd::tests::unit;

    fn sockets() -> [UnitProperties; 4] {
        [
            unit(
                "Listen=/run/p/a/control (Stream)\nTriggers=a-pause.service a.service\nActiveState=active",
            ),
            unit(
                "Listen=[::]:80 (Stream)\nListen=/run/a.sock (Stream)\nTriggers=a.service\nActiveState=active",
            ),
            unit("Listen=[::]:81 (Stream)\nTriggers=b.service\nActiveState=active"),
            unit("Listen=/run/p/c/control (Stream)\nTriggers=c.service\nActiveState=failed"),
        ]
    }

    #[test]
    fn the_path_of_the_control_socket_leads_to_its_service_and_to_the_sockets_for_clients() {
        let (sockets, control) = (sockets(), Path::new("/run/p/a/control"));
        assert_eq!(
            services_behind(&sockets, control),
            ["a-pause.service", "a.service"]
        );
        let listeners = listeners_of(&sockets, "a.service", control);
        assert_eq!(listeners, ["[::]:80", "/run/a.sock"]);
    }

    #[test]
    fn a_socket_that_systemd_does_not_listen_on_starts_nothing() {
        let sockets = sockets();
        for control in ["/run/p/c/control", "/run/p/d/control", ""] {
            let behind = services_behind(&sockets, Path::new(control));
            assert!(behind.is_empty(), "{control}");
        }
    }

    #[test]
    fn a_service_that_runs_starts_or_stops_does_not_sleep() {
        for (state, expected) in [
            ("inactive", Some(SleepKind::Asleep)),
            ("failed", Some(SleepKind::Failed)),
            ("active", None),
            ("activating", None),
            ("deactivating", None),
            ("reloading", None),
            ("maintenance", None),
            ("", None),
        ] {
            assert_eq!(sleeps(&unit(&format!("ActiveState={state}"))), expected);
        }
        let between = "ActiveState=inactive\nJob=";
        assert_eq!(sleeps(&unit(&format!("{between}712"))), None);
        assert!(sleeps(&unit(&format!("{between}0"))).is_some());
    }

    #[test]
    fn the_unit_of_a_pause_is_not_taken_for_the_proxy() {
        assert!(!serves(&unit("Type=oneshot\nActiveState=inactive")));
        assert!(serves(&unit("Type=notify\nActiveState=inactive")));
    }

    #[test]
    fn connections_that_systemd_keeps_are_not_taken_for_none() {
        let open = |store: &str| {
            let state = unit(&format!("NFileDescriptorStore={store}\nResult=success"));
            let control = Path::new("/nonexistent/control");
            let lists = QueueLists::read();
            sleeper_of(
                "a.service",
                SleepKind::Asleep,
                &state,
                control,
                Vec::new(),
                &lists,
            )
            .open
        };
        assert_eq!([open("0"), open(""), open("13")], [Some(0), Some(0), None]);
    }

    #[test]
    fn the_moment_is_that_of_systemds_clock_and_zero_is_none() {
        assert_eq!(since("0"), None);
        assert_eq!(since(""), None);
        let (before, moment) = (since("1000000").unwrap(), since("2000000").unwrap());
        // The two clocks are read one after the other.
        assert!(
            (900_000..1_100_000).contains(&(moment - before)),
            "{before} {moment}"
        );
        assert!(moment < realtime_micros());
    }
}
