//! The values of a proxy that are metrics, one for each. Pure.

use super::open_metrics::{MetricFamily, MetricKind};
use crate::ctl::sleeper::sleeping_proxy::Sleeper;
use crate::interface::metrics::SurvivalCounts;
use crate::interface::{GateState, LockStatus, MetricsReply, Status, UpstreamStatus};

/// What is known of a proxy.
#[derive(Debug)]
pub enum ProxyState {
    Running(Box<MetricsReply>),
    Sleeping(Box<Sleeper>),
    /// It cannot be reached, or does not answer.
    Unreachable,
    /// It answers, and is of a version without metrics.
    Outdated,
}

pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily {
        name,
        kind: MetricKind::Gauge,
        unit,
        help,
    }
}

pub const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily {
        name,
        kind: MetricKind::Counter,
        unit,
        help,
    }
}

/// A value of a proxy, if it is known.
pub type MetricValue = fn(&ProxyState) -> Option<f64>;

/// The families with one sample for each proxy.
pub const VALUES: [(MetricFamily, MetricValue); 20] = [
    (
        gauge(
            "disnix_tcp_proxy_lock_start_time_seconds",
            "seconds",
            "When the proxy was locked, since 1970; absent while the gate is open, or if it is not known.",
        ),
        |state| match lock(state)?.since_usec {
            0 => None,
            since => Some(seconds(since)),
        },
    ),
    (
        gauge(
            "disnix_tcp_proxy_sleep_start_time_seconds",
            "seconds",
            "When the last process has ended, since 1970; absent while one runs.",
        ),
        |state| match state {
            ProxyState::Sleeping(sleeper) => sleeper.since_usec.map(seconds),
            _ => None,
        },
    ),
    (
        gauge(
            "disnix_tcp_proxy_connections_open",
            "",
            "Clients that are connected to the target, or about to be.",
        ),
        |state| match state {
            ProxyState::Sleeping(sleeper) => sleeper.open.map(|open| open as f64),
            _ => of_status(state, |status| status.open as u64),
        },
    ),
    (
        gauge(
            "disnix_tcp_proxy_connections_connecting",
            "",
            "Those of the open connections that wait for the target.",
        ),
        |state| of_status(state, |status| status.connecting as u64),
    ),
    (
        gauge(
            "disnix_tcp_proxy_connections_detached",
            "",
            "Clients that stay connected while the target is not.",
        ),
        |state| of_status(state, |status| status.detached as u64),
    ),
    (
        gauge(
            "disnix_tcp_proxy_connections_max",
            "",
            "The most connections that may be open.",
        ),
        |state| of_status(state, |status| status.connections_max as u64),
    ),
    (
        gauge(
            "disnix_tcp_proxy_clients_waiting",
            "",
            "Clients in the accept backlogs.",
        ),
        |state| match state {
            ProxyState::Sleeping(sleeper) => Some(sleeper.queued as f64),
            _ => of_status(state, |status| status.queued.into()),
        },
    ),
    (
        gauge(
            "disnix_tcp_proxy_clients_waiting_max",
            "",
            "The room for clients in the accept backlogs; absent if the kernel does not say.",
        ),
        |state| {
            let ProxyState::Running(reply) = state else {
                return None;
            };
            let listeners = reply.status.listeners.iter();
            let rooms: Option<Vec<u32>> = listeners.map(|listener| listener.backlog).collect();
            rooms.map(|rooms| rooms.into_iter().map(f64::from).sum())
        },
    ),
    (
        gauge(
            "disnix_tcp_proxy_has_target",
            "",
            "Whether the proxy knows where to connect clients to; without a target they wait.",
        ),
        |state| of_status(state, |status| status.target.is_some().into()),
    ),
    (
        gauge(
            "disnix_tcp_proxy_upstream_reachable",
            "",
            "Whether the last attempt to reach the target has succeeded; absent without any.",
        ),
        |state| Some(u8::from(upstream(state)?.failing_since_usec.is_none()).into()),
    ),
    (
        gauge(
            "disnix_tcp_proxy_upstream_reached_time_seconds",
            "seconds",
            "When the target was reached last, since 1970.",
        ),
        |state| upstream(state)?.reached_usec.map(seconds),
    ),
    (
        counter(
            "disnix_tcp_proxy_connections_accepted",
            "",
            "Clients accepted since the process began.",
        ),
        |state| of_status(state, |status| status.accepted),
    ),
    (
        counter(
            "disnix_tcp_proxy_clients_refused",
            "",
            "Clients reset because of the limit for each source, since the process began.",
        ),
        |state| of_status(state, |status| status.refused),
    ),
    (
        counter(
            "disnix_tcp_proxy_upstream_failures",
            "",
            "Clients given up because the target was not reached, since the process began.",
        ),
        |state| of_status(state, |status| status.unreachable),
    ),
    (
        counter(
            "disnix_tcp_proxy_requests_repeated",
            "",
            "Requests sent once more because the target had ended before its reply, since the process began.",
        ),
        |state| of_status(state, |status| status.repeated),
    ),
    (
        counter(
            "disnix_tcp_proxy_received_bytes",
            "bytes",
            "From clients, since the process began and before on connections that it continued.",
        ),
        |state| of_status(state, |status| status.received_bytes),
    ),
    (
        counter(
            "disnix_tcp_proxy_sent_bytes",
            "bytes",
            "To clients, since the process began and before on connections that it continued.",
        ),
        |state| of_status(state, |status| status.sent_bytes),
    ),
    (
        counter(
            "disnix_tcp_proxy_kills_survived",
            "",
            "Processes that were killed or have crashed and were replaced, since the boot.",
        ),
        |state| Some(survived(state)?.kills as f64),
    ),
    (
        counter(
            "disnix_tcp_proxy_connections_restored",
            "",
            "Connections that went on in the next process, since the boot.",
        ),
        |state| Some(survived(state)?.restored as f64),
    ),
    (
        counter(
            "disnix_tcp_proxy_connections_given_up",
            "",
            "Kept connections reset because they could not go on in the next process, since the boot.",
        ),
        |state| Some(survived(state)?.given_up as f64),
    ),
];

fn of_status(state: &ProxyState, value: impl Fn(&Status) -> u64) -> Option<f64> {
    match state {
        ProxyState::Running(reply) => Some(value(&reply.status) as f64),
        _ => None,
    }
}

fn upstream(state: &ProxyState) -> Option<&UpstreamStatus> {
    match state {
        ProxyState::Running(reply) => reply.status.upstream.as_ref(),
        _ => None,
    }
}

fn survived(state: &ProxyState) -> Option<SurvivalCounts> {
    match state {
        ProxyState::Running(reply) => Some(reply.survived),
        ProxyState::Sleeping(sleeper) => sleeper.left.survived,
        ProxyState::Unreachable | ProxyState::Outdated => None,
    }
}

fn lock(state: &ProxyState) -> Option<&LockStatus> {
    match state {
        ProxyState::Running(reply) => reply.status.lock.as_ref(),
        ProxyState::Sleeping(sleeper) => sleeper.left.lock.as_ref(),
        ProxyState::Unreachable | ProxyState::Outdated => None,
    }
}

/// The gate, if it is known.
pub fn gate(state: &ProxyState) -> Option<GateState> {
    match state {
        ProxyState::Running(reply) => Some(reply.status.gate),
        ProxyState::Sleeping(sleeper) => sleeper.left.gate,
        ProxyState::Unreachable | ProxyState::Outdated => None,
    }
}

/// Microseconds as seconds.
pub fn seconds(usec: u64) -> f64 {
    usec as f64 / 1e6
}
