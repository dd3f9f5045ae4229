//! The metrics of all proxies. Pure.

use super::open_metrics::{MetricFamily, MetricKind, Sample};
use super::values::{ProxyState, VALUES, gate, seconds};
use crate::ctl::sleeper::sleeping_proxy::SleepKind;
use crate::interface::GateState;
use crate::interface::metrics::DrainLengths;

/// What each name begins with.
pub const PREFIX: &str = "disnix_tcp_proxy_";

/// The label with the name of the proxy; not `instance`, which Prometheus itself sets to the address that it scrapes.
pub const PROXY: &str = "proxy";

/// A proxy and what is known of it.
pub type Observed = (String, ProxyState);

/// All families, with the samples of these proxies.
pub fn families(proxies: &[Observed]) -> Vec<(MetricFamily, Vec<Sample>)> {
    let mut families = states(proxies);
    families.extend(VALUES.iter().map(|(family, value)| {
        let sample = |(proxy, state): &Observed| Some(plain(family, proxy, value(state)?));
        (*family, proxies.iter().filter_map(sample).collect())
    }));
    let drains = |(proxy, state): &Observed| match state {
        ProxyState::Running(reply) => histogram(proxy, &reply.drains),
        _ => Vec::new(),
    };
    families.push((DRAINS, proxies.iter().flat_map(drains).collect()));
    families
}

const PROCESS: MetricFamily = words(
    "disnix_tcp_proxy_process",
    "The state of the process: running, asleep (the next client starts it), failed, unreachable, or outdated (of a version without metrics).",
);

const GATE: MetricFamily = words(
    "disnix_tcp_proxy_gate",
    "The state of the gate: open, draining or locked.",
);

const BUILD: MetricFamily = words(
    "disnix_tcp_proxy_build",
    "The version of the process that runs.",
);

const fn words(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily {
        name,
        kind: MetricKind::Words,
        unit: "",
        help,
    }
}

const DRAINS: MetricFamily = MetricFamily {
    name: "disnix_tcp_proxy_drain_duration_seconds",
    kind: MetricKind::Histogram,
    unit: "seconds",
    help: "How long drains took that were completed, since the process began.",
};

/// The families whose samples are words.
fn states(proxies: &[Observed]) -> Vec<(MetricFamily, Vec<Sample>)> {
    let process = |(proxy, state): &Observed| {
        let is = match state {
            ProxyState::Running(_) => "running",
            ProxyState::Sleeping(sleeper) => sleeper.process.as_str(),
            ProxyState::Unreachable => "unreachable",
            ProxyState::Outdated => "outdated",
        };
        let [asleep, failed] = [SleepKind::Asleep, SleepKind::Failed].map(SleepKind::as_str);
        let all = ["running", asleep, failed, "unreachable", "outdated"];
        one_of(proxy, is, all)
    };
    let gate = |(proxy, state): &Observed| {
        let all = [GateState::Open, GateState::Draining, GateState::Locked];
        let samples = gate(state).map(|is| one_of(proxy, is.as_str(), all.map(GateState::as_str)));
        samples.unwrap_or_default()
    };
    let build = |(proxy, state): &Observed| match state {
        ProxyState::Running(reply) => Some(Sample {
            suffix: "",
            labels: labels(proxy, Some(("version", reply.status.version.as_str()))),
            value: 1.0,
        }),
        _ => None,
    };
    vec![
        (PROCESS, proxies.iter().flat_map(process).collect()),
        (GATE, proxies.iter().flat_map(gate).collect()),
        (BUILD, proxies.iter().filter_map(build).collect()),
    ]
}

/// A sample for each word: 1 for the one that it is.
fn one_of<const N: usize>(proxy: &str, is: &str, words: [&str; N]) -> Vec<Sample> {
    let sample = |word: &str| Sample {
        suffix: "",
        labels: labels(proxy, Some(("state", word))),
        value: f64::from(word == is),
    };
    words.map(sample).to_vec()
}

fn plain(family: &MetricFamily, proxy: &str, value: f64) -> Sample {
    Sample {
        suffix: match family.kind {
            MetricKind::Counter => "_total",
            _ => "",
        },
        labels: labels(proxy, None),
        value,
    }
}

/// Each bucket has also what is in the ones before.
fn histogram(proxy: &str, lengths: &DrainLengths) -> Vec<Sample> {
    let sample = |suffix, bound: Option<&str>, value| Sample {
        suffix,
        labels: labels(proxy, bound.map(|bound| ("le", bound))),
        value,
    };
    let bounds = lengths.bounds_usec.iter();
    let bounds = bounds.map(|bound| format!("{:?}", seconds(*bound)));
    let mut count = 0;
    let mut samples = Vec::new();
    for (bound, drains) in bounds.chain(["+Inf".to_owned()]).zip(&lengths.counts) {
        count += drains;
        samples.push(sample("_bucket", Some(&bound), count as f64));
    }
    samples.push(sample("_count", None, count as f64));
    samples.push(sample("_sum", None, seconds(lengths.sum_usec)));
    samples
}

fn labels(proxy: &str, more: Option<(&'static str, &str)>) -> Vec<(&'static str, String)> {
    let labels = [Some((PROXY, proxy)), more].into_iter().flatten();
    labels
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use crate::ctl::description::tests::status;
    use crate::ctl::metrics::open_metrics;
    use crate::ctl::sleeper::description::tests::sleeper;
    use crate::interface::metrics::SurvivalCounts;
    use crate::interface::{LeaseEnd, LockStatus, MetricsReply};

    pub fn running() -> MetricsReply {
        MetricsReply {
            status: status(),
            drains: DrainLengths {
                bounds_usec: vec![100_000, 1_000_000],
                counts: vec![2, 0, 1],
                sum_usec: 2_500_000,
            },
            survived: SurvivalCounts {
                kills: 4,
                restored: 9,
                given_up: 1,
            },
        }
    }

    fn lines(proxies: &[Observed]) -> Vec<String> {
        let text = open_metrics::text(&families(proxies));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_proxy_that_runs_has_a_sample_for_each_value() {
        let running = ProxyState::Running(running().into());
        let lines = lines(&[("web".to_owned(), running)]);
        for line in [
            "disnix_tcp_proxy_process{proxy=\"web\",state=\"running\"} 1",
            "disnix_tcp_proxy_process{proxy=\"web\",state=\"asleep\"} 0",
            "disnix_tcp_proxy_gate{proxy=\"web\",state=\"open\"} 1",
            "disnix_tcp_proxy_gate{proxy=\"web\",state=\"locked\"} 0",
            "disnix_tcp_proxy_build{proxy=\"web\",version=\"0.1.0\"} 1",
            "disnix_tcp_proxy_connections_open{proxy=\"web\"} 3",
            "disnix_tcp_proxy_connections_max{proxy=\"web\"} 16384",
            "disnix_tcp_proxy_clients_waiting_max{proxy=\"web\"} 4096",
            "disnix_tcp_proxy_has_target{proxy=\"web\"} 1",
            "disnix_tcp_proxy_connections_accepted_total{proxy=\"web\"} 10",
            "disnix_tcp_proxy_upstream_failures_total{proxy=\"web\"} 1",
            "disnix_tcp_proxy_sent_bytes_total{proxy=\"web\"} 2048",
            "disnix_tcp_proxy_kills_survived_total{proxy=\"web\"} 4",
            "disnix_tcp_proxy_connections_restored_total{proxy=\"web\"} 9",
            "disnix_tcp_proxy_connections_given_up_total{proxy=\"web\"} 1",
            "disnix_tcp_proxy_drain_duration_seconds_bucket{proxy=\"web\",le=\"0.1\"} 2",
            "disnix_tcp_proxy_drain_duration_seconds_bucket{proxy=\"web\",le=\"1.0\"} 2",
            "disnix_tcp_proxy_drain_duration_seconds_bucket{proxy=\"web\",le=\"+Inf\"} 3",
            "disnix_tcp_proxy_drain_duration_seconds_count{proxy=\"web\"} 3",
            "disnix_tcp_proxy_drain_duration_seconds_sum{proxy=\"web\"} 2.5",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line}\n{lines:#?}");
        }
        let has_absent = lines.iter().any(|line| line.contains("_start_time_"));
        assert!(!has_absent, "{lines:#?}");
    }

    #[test]
    fn a_proxy_that_sleeps_has_what_systemd_and_its_files_say_and_no_more() {
        let mut sleeper = sleeper();
        sleeper.left.gate = Some(GateState::Locked);
        sleeper.left.survived = Some(running().survived);
        sleeper.left.lock = Some(LockStatus {
            reason: None,
            since_usec: 5_500_000,
            lease_left_usec: None,
            at_lease_end: LeaseEnd::Open,
            callers: 0,
            kept: true,
        });
        let proxies = [("web".to_owned(), ProxyState::Sleeping(sleeper.into()))];
        let of_words = [
            "process{proxy=\"web\",state=\"running\"} 0",
            "process{proxy=\"web\",state=\"asleep\"} 1",
            "process{proxy=\"web\",state=\"failed\"} 0",
            "process{proxy=\"web\",state=\"unreachable\"} 0",
            "process{proxy=\"web\",state=\"outdated\"} 0",
            "gate{proxy=\"web\",state=\"open\"} 0",
            "gate{proxy=\"web\",state=\"draining\"} 0",
            "gate{proxy=\"web\",state=\"locked\"} 1",
        ];
        let of_numbers = [
            "lock_start_time_seconds{proxy=\"web\"} 5.5",
            "sleep_start_time_seconds{proxy=\"web\"} 1",
            "connections_open{proxy=\"web\"} 0",
            "clients_waiting{proxy=\"web\"} 0",
            "kills_survived_total{proxy=\"web\"} 4",
            "connections_restored_total{proxy=\"web\"} 9",
            "connections_given_up_total{proxy=\"web\"} 1",
        ];
        let expected: Vec<String> = [&of_words[..], &of_numbers[..]]
            .concat()
            .iter()
            .map(|line| format!("disnix_tcp_proxy_{line}"))
            .collect();
        assert_eq!(lines(&proxies), expected);
    }

    #[test]
    fn a_lock_since_an_unknown_time_has_no_time() {
        let mut reply = running();
        reply.status.lock = Some(LockStatus {
            reason: None,
            since_usec: 0,
            lease_left_usec: None,
            at_lease_end: LeaseEnd::Open,
            callers: 0,
            kept: true,
        });
        let lines = lines(&[("web".to_owned(), ProxyState::Running(reply.into()))]);
        let is_time = |line: &String| line.contains("lock_start_time");
        assert!(!lines.iter().any(is_time), "{lines:#?}");
    }

    #[test]
    fn a_proxy_that_does_not_answer_has_nothing_but_that() {
        for (state, word) in [
            (ProxyState::Unreachable, "unreachable"),
            (ProxyState::Outdated, "outdated"),
        ] {
            let lines = lines(&[("web".to_owned(), state)]);
            assert_eq!(lines.len(), 5);
            let end = format!("state=\"{word}\"}} 1");
            let is: Vec<_> = lines.iter().filter(|line| line.ends_with(" 1")).collect();
            assert!(is.len() == 1 && is[0].ends_with(&end), "{lines:#?}");
        }
    }

    /// What the samples of a family are called.
    fn names(family: &MetricFamily) -> Vec<String> {
        let suffixes: &[&str] = match family.kind {
            MetricKind::Gauge | MetricKind::Words => &[""],
            MetricKind::Counter => &["_total"],
            MetricKind::Histogram => &["_bucket", "_count", "_sum"],
        };
        let name = |suffix: &&str| format!("{}{suffix}", family.name);
        suffixes.iter().map(name).collect()
    }

    #[test]
    fn the_rules_the_dashboard_and_the_document_have_the_names_that_there_are() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc");
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        let families = families(&[]);
        let known: BTreeSet<String> = families.iter().flat_map(|(one, _)| names(one)).collect();
        for file in [
            "monitoring/alerts.yml",
            "monitoring/alerts.test.yml",
            "monitoring/dashboard.json",
        ] {
            let text = read(file);
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words = text.split(|c| !is_part(c));
            let used: Vec<_> = words.filter(|word| word.starts_with(PREFIX)).collect();
            assert!(used.len() > 8, "{file}");
            for name in used {
                assert!(known.contains(name), "{file}: {name}");
            }
        }
        let of_table = |line: &str| Some(line.strip_prefix("| `")?.split('|').next()?.to_owned());
        let document = read("monitoring.md");
        let columns: Vec<String> = document.lines().filter_map(of_table).collect();
        let documented: BTreeSet<&str> = columns
            .iter()
            .flat_map(|column| column.split('`').step_by(2))
            .collect();
        let all: BTreeSet<String> = families
            .iter()
            .map(|(family, _)| match family.kind {
                MetricKind::Counter => format!("{}_total", family.name),
                _ => family.name.to_owned(),
            })
            .collect();
        let all = all.iter().map(|name| name.strip_prefix(PREFIX).unwrap());
        assert_eq!(documented, all.collect());
    }

    #[test]
    fn each_name_is_there_once_and_ends_with_its_unit() {
        let families = families(&[]);
        let names: BTreeSet<_> = families.iter().map(|(family, _)| family.name).collect();
        assert_eq!(names.len(), families.len());
        for (family, _) in families {
            assert!(family.name.ends_with(family.unit), "{}", family.name);
        }
    }
}
