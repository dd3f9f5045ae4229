//! All loads, and what we want to reach.

use super::column::{Column, Load, Metric};
use crate::candidates::Candidate;
use crate::network::Setting;
use crate::pattern::Protocol;
use crate::tools::tool::{Program, Tool};

const BULK_1: &str = "Bulk, 1 stream";
const BULK_8: &str = "Bulk, 8 streams";
const KEPT_50: &str = "50 connections";
const KEPT_500: &str = "500 connections";
const CLIENT_CLOSES: &str = "New connections, the client closes";
const SERVICE_CLOSES: &str = "New connections, the service closes";

const BULK: &[Metric] = &[
    Metric::more("Gbit/s", 1, 1.05).own(Candidate::Handover, Candidate::Nobody, 0.95),
    Metric::less("CPU s/GiB", 3, Some(1.0)),
];

const KEPT: &[Metric] = &[
    Metric::more("requests/s", 0, 1.0).own(Candidate::Handover, Candidate::Nobody, 0.95),
    Metric::less("CPU µs each", 2, Some(1.05)),
    Metric::less("p99 µs", 0, None),
];

const NEW: &[Metric] = &[
    Metric::more("connections/s", 0, 1.05).own(Candidate::Handover, Candidate::Nobody, 0.8),
    Metric::less("CPU µs each", 1, Some(1.05)),
];

const HTTP: &[Metric] = &[
    Metric::more("requests/s", 0, 1.1).own(Candidate::Requests, Candidate::Ours, 0.95),
    Metric::less("CPU µs each", 2, Some(1.1)).own(Candidate::Requests, Candidate::Ours, 0.95),
    Metric::less("p99 µs", 0, None),
];

const AT_A_RATE: &[Metric] = &[
    Metric::less("p50 µs", 0, Some(1.0)),
    Metric::less("p99 µs", 0, Some(1.0)),
    Metric::less("p99.9 µs", 0, Some(1.0)),
];

const ONE: &[Metric] = &[Metric::less("p50 µs", 1, Some(1.0))];

const MEMORY: &[Metric] = &[
    Metric::less("KiB each", 2, Some(1.3)),
    Metric::less("MiB without one", 2, None).own(Candidate::Ours, Candidate::SocketProxyd, 1.0),
];

const HTTP_MEMORY: &[Metric] =
    &[Metric::less("KiB each", 2, None).own(Candidate::Detaching, Candidate::Ours, 1.0)];

type Text = &'static str;

const fn plain(key: Text, subject: Text, load: Load, metrics: &'static [Metric]) -> Column {
    Column {
        key,
        subject,
        load,
        protocol: Protocol::Plain,
        pinned: false,
        setting: Setting::MACHINE,
        metrics,
    }
}

const fn http(key: Text, subject: Text, load: Load, metrics: &'static [Metric]) -> Column {
    Column {
        protocol: Protocol::Http,
        ..plain(key, subject, load, metrics)
    }
}

const fn pinned(key: Text, subject: Text, load: Load, metrics: &'static [Metric]) -> Column {
    Column {
        pinned: true,
        ..plain(key, subject, load, metrics)
    }
}

const fn iperf3(key: Text, subject: Text, streams: usize) -> Column {
    let tool = Tool::kept(Program::Iperf3, streams);
    plain(key, subject, Load::Tool(tool), BULK)
}

const fn kept(key: Text, subject: Text, program: Program, count: usize) -> Column {
    let tool = Tool::kept(program, count);
    plain(key, subject, Load::Tool(tool), KEPT)
}

const fn new(key: Text, subject: Text, program: Program, count: usize) -> Column {
    let tool = Tool::new(program, count);
    plain(key, subject, Load::Tool(tool), NEW)
}

/// Everything that is measured.
pub const ALL: &[Column] = &[
    plain("bulk-1", BULK_1, Load::Bulk(1), BULK),
    iperf3("iperf3-1", BULK_1, 1),
    plain("bulk-8", BULK_8, Load::Bulk(8), BULK),
    iperf3("iperf3-8", BULK_8, 8),
    plain("requests-50", KEPT_50, Load::Requests(50), KEPT),
    kept("wrk-50", KEPT_50, Program::Wrk, 50),
    kept("redis-50", KEPT_50, Program::RedisBenchmark, 50),
    kept("pgbench-50", KEPT_50, Program::Pgbench, 50),
    plain("requests-500", KEPT_500, Load::Requests(500), KEPT),
    kept("wrk-500", KEPT_500, Program::Wrk, 500),
    kept("redis-500", KEPT_500, Program::RedisBenchmark, 500),
    plain(
        "rate-25",
        "At 25 % of the best rate",
        Load::Paced(25),
        AT_A_RATE,
    ),
    plain(
        "rate-50",
        "At 50 % of the best rate",
        Load::Paced(50),
        AT_A_RATE,
    ),
    plain(
        "rate-75",
        "At 75 % of the best rate",
        Load::Paced(75),
        AT_A_RATE,
    ),
    pinned(
        "latency",
        "One connection, everything on one CPU",
        Load::Requests(1),
        ONE,
    ),
    plain("connections", CLIENT_CLOSES, Load::Connections(64), NEW),
    new("h2load-new", CLIENT_CLOSES, Program::H2load, 500),
    new("redis-new", CLIENT_CLOSES, Program::RedisBenchmark, 64),
    new("pgbench-new", CLIENT_CLOSES, Program::Pgbench, 64),
    new("wrk-new", SERVICE_CLOSES, Program::Wrk, 64),
    new("ab-new", SERVICE_CLOSES, Program::Ab, 64),
    plain("memory", "Memory of an idle connection", Load::Idle, MEMORY),
    http("http-50", "50 HTTP connections", Load::Requests(50), HTTP),
    http(
        "http-500",
        "500 HTTP connections",
        Load::Requests(500),
        HTTP,
    ),
    http(
        "http-memory",
        "Memory of an idle HTTP client",
        Load::Idle,
        HTTP_MEMORY,
    ),
];
