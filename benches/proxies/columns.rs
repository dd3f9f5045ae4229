//! What is measured, in which unit, and what we want to reach.

use crate::candidates::Candidate;
use crate::load::idle::Held;
use crate::load::tool::Tool;
use crate::outputs::Output;
use crate::pattern::Protocol;
use crate::window::Seen;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Receive so many long streams.
    Bulk(usize),
    /// Keep so many connections alive with one request after the other.
    Requests(usize),
    /// Open connections for one request each, so many at a time.
    Connections(usize),
    /// Ask on 50 connections at this percentage of the rate that the best peer reaches with them.
    Paced(u32),
    /// What a tool of users does.
    Tool(Tool),
    /// Hold idle connections.
    Idle,
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// With its unit.
    pub name: &'static str,
    /// Whether more of it is better; else less.
    pub more: bool,
    /// Our part of the best peer's, or the inverse where less is better.
    pub goal: Option<f64>,
    /// The same of one candidate against another one.
    pub own: Option<(Candidate, Candidate, f64)>,
    /// Digits after the point.
    pub digits: usize,
}

/// One load, with its figures.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// For `--only`.
    pub key: &'static str,
    /// For the table.
    pub title: &'static str,
    /// What the clients do.
    pub load: Load,
    /// What clients and service speak.
    pub protocol: Protocol,
    /// Whether clients, proxy and service share one processor.
    pub pinned: bool,
    /// What is seen.
    pub metrics: &'static [Metric],
}

const fn more(name: &'static str, digits: usize, goal: f64) -> Metric {
    Metric {
        name,
        more: true,
        goal: Some(goal),
        own: None,
        digits,
    }
}

const fn less(name: &'static str, digits: usize, goal: Option<f64>) -> Metric {
    Metric {
        name,
        more: false,
        goal,
        own: None,
        digits,
    }
}

impl Metric {
    /// Direct handover against no proxy at all.
    const fn handover(self, goal: f64) -> Self {
        Self {
            own: Some((Candidate::Handover, Candidate::Nobody, goal)),
            ..self
        }
    }

    /// With what `--requests http` adds against our proxy without.
    const fn with(self, who: Candidate, goal: f64) -> Self {
        Self {
            own: Some((who, OURS, goal)),
            ..self
        }
    }
}

/// Our proxy as it comes.
const OURS: Candidate = Candidate::Ours { threads: None };

const BULK: &[Metric] = &[
    more("Gbit/s", 1, 1.05).handover(0.95),
    less("CPU s/GiB", 3, Some(1.0)),
];

const REQUESTS: &[Metric] = &[
    more("requests/s", 0, 1.1).handover(0.95),
    less("CPU µs each", 2, Some(1.1)),
    less("p50 µs", 0, None),
    less("p99 µs", 0, Some(0.9)),
];

const HTTP: &[Metric] = &[
    more("requests/s", 0, 1.1).with(Candidate::Requests, 0.95),
    less("CPU µs each", 2, Some(1.1)).with(Candidate::Requests, 0.95),
    less("p50 µs", 0, None),
    less("p99 µs", 0, None),
];

const PACED: &[Metric] = &[
    less("p50 µs", 0, Some(1.0)),
    less("p99 µs", 0, Some(1.0)),
    less("p99.9 µs", 0, Some(1.0)),
];

const fn paced(key: &'static str, title: &'static str, percent: u32) -> Column {
    Column {
        key,
        title,
        load: Load::Paced(percent),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: PACED,
    }
}

const fn tool(
    key: &'static str,
    title: &'static str,
    tool: Tool,
    metrics: &'static [Metric],
) -> Column {
    Column {
        key,
        title,
        load: Load::Tool(tool),
        protocol: Protocol::Plain,
        pinned: false,
        metrics,
    }
}

const TOOL_BULK: &[Metric] = &[more("Gbit/s", 1, 1.05), less("CPU s/GiB", 3, Some(1.0))];

const TOOL_REQUESTS: &[Metric] = &[
    more("requests/s", 0, 1.0),
    less("CPU µs each", 2, Some(1.05)),
    less("p50 µs", 0, None),
    less("p99 µs", 0, None),
];

const TOOL_CONNECTIONS: &[Metric] = &[
    more("connections/s", 0, 1.05),
    less("CPU µs each", 1, Some(1.05)),
];

/// Everything that is measured.
pub const ALL: &[Column] = &[
    Column {
        key: "bulk-1",
        title: "Bulk, 1 stream",
        load: Load::Bulk(1),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: BULK,
    },
    Column {
        key: "bulk-8",
        title: "Bulk, 8 streams",
        load: Load::Bulk(8),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: BULK,
    },
    Column {
        key: "requests-50",
        title: "50 request/reply connections",
        load: Load::Requests(50),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: REQUESTS,
    },
    Column {
        key: "requests-500",
        title: "500 request/reply connections",
        load: Load::Requests(500),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: REQUESTS,
    },
    paced("rate-25", "At 25 % of the best rate", 25),
    paced("rate-50", "At 50 % of the best rate", 50),
    paced("rate-75", "At 75 % of the best rate", 75),
    Column {
        key: "latency",
        title: "One request/reply connection, everything on one CPU",
        load: Load::Requests(1),
        protocol: Protocol::Plain,
        pinned: true,
        metrics: &[less("p50 µs", 1, Some(1.0))],
    },
    Column {
        key: "connections",
        title: "New connections, 64 at a time",
        load: Load::Connections(64),
        protocol: Protocol::Plain,
        pinned: false,
        metrics: &[
            more("connections/s", 0, 1.05).handover(0.8),
            less("CPU µs each", 1, Some(1.05)),
        ],
    },
    tool("iperf3-1", "iperf3, 1 stream", Tool::Iperf3(1), TOOL_BULK),
    tool("iperf3-8", "iperf3, 8 streams", Tool::Iperf3(8), TOOL_BULK),
    tool(
        "wrk-50",
        "wrk, 50 connections",
        Tool::Wrk(50),
        TOOL_REQUESTS,
    ),
    tool(
        "wrk-500",
        "wrk, 500 connections",
        Tool::Wrk(500),
        TOOL_REQUESTS,
    ),
    tool(
        "wrk-new",
        "wrk, new connections, the service closes",
        Tool::WrkClosing(64),
        TOOL_CONNECTIONS,
    ),
    Column {
        key: "memory",
        title: "Memory of an idle connection",
        load: Load::Idle,
        protocol: Protocol::Plain,
        pinned: false,
        metrics: &[
            less("KiB each", 2, Some(1.05)),
            less("of it user KiB", 2, None),
        ],
    },
    Column {
        key: "http-50",
        title: "50 HTTP connections",
        load: Load::Requests(50),
        protocol: Protocol::Http,
        pinned: false,
        metrics: HTTP,
    },
    Column {
        key: "http-500",
        title: "500 HTTP connections",
        load: Load::Requests(500),
        protocol: Protocol::Http,
        pinned: false,
        metrics: HTTP,
    },
    Column {
        key: "http-memory",
        title: "Memory of an idle HTTP client",
        load: Load::Idle,
        protocol: Protocol::Http,
        pinned: false,
        metrics: &[
            less("KiB each", 2, None).with(Candidate::Detaching, 1.0),
            less("of it user KiB", 2, None),
        ],
    },
];

impl Column {
    /// Whether a candidate is measured: in HTTP those that know where a request ends, and what our
    /// proxy is compared with.
    pub fn has(&self, candidate: Candidate) -> bool {
        let is_http = self.protocol == Protocol::Http;
        let is_idle = self.load == Load::Idle;
        match candidate {
            OURS
            | Candidate::Other
            | Candidate::Haproxy { splice: false, .. }
            | Candidate::Nginx { .. } => true,
            Candidate::Requests => is_http,
            Candidate::Detaching => is_http && is_idle,
            Candidate::Nobody => !is_idle,
            // Only our service takes clients over.
            Candidate::Handover if matches!(self.load, Load::Tool(_)) => false,
            _ => !is_http,
        }
    }

    /// The one of ours that is compared with the best peer.
    pub fn ours(&self) -> Candidate {
        match self.protocol {
            Protocol::Plain => OURS,
            Protocol::Http => Candidate::Requests,
        }
    }

    /// The figures of a load that took its time, in the order of the metrics. `None` where the
    /// proxy's CPU is unknown, because there is none.
    pub fn of_seen(&self, mut seen: Seen, proxy: bool) -> Vec<Option<f64>> {
        let units = seen.units as f64;
        let cpu = |unit: f64| (proxy && units > 0.0).then(|| seen.cpu / (units / unit));
        match self.load {
            Load::Bulk(_) => {
                let gigabits = units * 8.0 / 1e9;
                vec![Some(gigabits / seen.seconds), cpu(f64::from(1 << 30))]
            }
            Load::Connections(_) => vec![Some(units / seen.seconds), cpu(1e6)],
            Load::Requests(_) => {
                let each = cpu(1e6);
                seen.times.sort_unstable();
                let [p50, p99] = [0.5, 0.99].map(|part| quantile(&seen.times, part));
                match self.metrics.len() {
                    1 => vec![p50],
                    _ => vec![Some(units / seen.seconds), each, p50, p99],
                }
            }
            Load::Paced(_) => {
                seen.times.sort_unstable();
                [0.5, 0.99, 0.999]
                    .map(|part| quantile(&seen.times, part))
                    .to_vec()
            }
            Load::Tool(_) | Load::Idle => Vec::new(),
        }
    }

    /// The figures of a tool.
    pub fn of_tool(&self, seen: &Seen, output: &Output, proxy: bool) -> Vec<Option<f64>> {
        let cpu =
            |unit: f64| (proxy && seen.units > 0).then(|| seen.cpu / (seen.units as f64 / unit));
        match output.times {
            None => vec![Some(output.rate * 8.0 / 1e9), cpu(f64::from(1 << 30))],
            Some([p50, p99]) => {
                let all = [Some(output.rate), cpu(1e6), Some(p50), Some(p99)];
                all[..self.metrics.len()].to_vec()
            }
        }
    }

    /// The figures of connections that were held; `uncharged` bytes belong to each beside.
    pub fn of_held(&self, held: &Held, count: usize, uncharged: u64) -> Vec<Option<f64>> {
        let each = |before: u64, with: u64| with.saturating_sub(before) as f64 / count as f64;
        let total = each(held.before.total, held.with.total);
        let user = each(
            held.before.total.saturating_sub(held.before.kernel),
            held.with.total.saturating_sub(held.with.kernel),
        );
        let total = total + uncharged as f64;
        vec![Some(total / 1024.0), Some(user / 1024.0)]
    }
}

/// In microseconds, of sorted nanoseconds.
fn quantile(times: &[u32], part: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    Some(f64::from(times[(last as f64 * part).round() as usize]) / 1000.0)
}
