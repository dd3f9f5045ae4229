//! What `systemd-report` reads (systemd 260 and newer): the Varlink interface `io.systemd.Metrics`. Pure.
//!
//! A socket in `/run/systemd/report` is named as an interface, and the names of its metrics begin with that name. They
//! are those of Prometheus in systemd's spelling. systemd has no histogram: of one there are the number and the sum.

use std::path::Path;

use serde_json::{Value, json};

use super::families::{PREFIX, PROXY};
use super::open_metrics::{MetricFamily, MetricKind, Sample};
use crate::interface::{INTERFACE, qualified};
use crate::service::varlink::{Call, Reply, ServiceInfo};

const NO_SUCH_METRIC: &str = "io.systemd.Metrics.NoSuchMetric";

const INFO: ServiceInfo = ServiceInfo {
    product: "disnix-tcp-proxyctl",
    version: env!("CARGO_PKG_VERSION"),
    url: env!("CARGO_PKG_REPOSITORY"),
    interface: "io.systemd.Metrics",
    description: DESCRIPTION,
};

/// The interface is systemd's, the comments are ours.
const DESCRIPTION: &str = "\
# Metrics of all disnix-tcp-proxies of this machine. systemd defines the interface.
interface io.systemd.Metrics

type MetricFamilyType (counter, gauge, string)

# One reply for each value; needs more. object: the proxy.
method List() -> (name: string, value: any, object: ?string, fields: ?object)

# One reply for each family; needs more.
method Describe() -> (name: string, description: string, type: MetricFamilyType)

error NoSuchMetric ()
";

/// Whether a listener with this name is for `systemd-report`: its file is named as our interface.
pub fn is_for_report(listener: &str) -> bool {
    let path = listener.strip_prefix("unix:").map(Path::new);
    path.and_then(Path::file_name)
        .is_some_and(|name| name == INTERFACE)
}

/// The methods of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportMethod {
    /// The values.
    List,
    /// What they are.
    Describe,
}

impl ReportMethod {
    /// The method that is called, or the answer to any other call.
    pub fn of(call: &Call) -> Result<Self, Reply> {
        if let Some(answer) = INFO.answer(call) {
            return Err(answer);
        }
        let method = match call.method.rsplit('.').next() {
            Some("List") => Self::List,
            Some("Describe") => Self::Describe,
            _ => return Err(Reply::method_not_found(&call.method)),
        };
        let parameters = call.parameters.as_object();
        if let Some(name) = parameters.and_then(|all| all.keys().next()) {
            return Err(Reply::invalid_parameter(name));
        }
        match call.more {
            true => Ok(method),
            false => Err(Reply::expected_more()),
        }
    }
}

/// The replies to `List`.
pub fn values(families: &[(MetricFamily, Vec<Sample>)]) -> Vec<Reply> {
    let samples = families
        .iter()
        .flat_map(|(family, samples)| samples.iter().map(move |sample| (family, sample)));
    series(samples.filter_map(|(family, sample)| {
        Some(json!({
            "name": name(family, sample.suffix),
            "value": value(family.kind, sample)?,
            "object": label(sample, |name| name == PROXY)?,
        }))
    }))
}

/// The replies to `Describe`.
pub fn descriptions(families: &[(MetricFamily, Vec<Sample>)]) -> Vec<Reply> {
    series(families.iter().flat_map(|(family, _)| {
        let parts: &[_] = match family.kind {
            MetricKind::Gauge => &[("", "gauge", "")],
            MetricKind::Counter => &[("", "counter", "")],
            MetricKind::Words => &[("", "string", "")],
            MetricKind::Histogram => &[
                ("_count", "counter", " Their number."),
                ("_sum", "counter", " Their sum."),
            ],
        };
        parts.iter().map(move |(suffix, kind, more)| {
            json!({
                "name": name(family, suffix),
                "description": format!("{}{more}", family.help),
                "type": kind,
            })
        })
    }))
}

/// The reply when nothing is known, with the reason.
pub fn unknown(reason: &str) -> Reply {
    Reply::error(qualified("MetricsUnknown"), json!({ "reason": reason }))
}

/// A reply for each; the last one says that it is the last.
fn series(all: impl Iterator<Item = Value>) -> Vec<Reply> {
    let mut replies: Vec<Reply> = all.map(Reply::continued).collect();
    match replies.last_mut() {
        Some(last) => last.continues = false,
        None => replies.push(Reply::error(NO_SUCH_METRIC, json!({}))),
    }
    replies
}

/// `sent_bytes`, of which the total is counted, is `SentBytes`.
fn name(family: &MetricFamily, suffix: &str) -> String {
    let suffix = suffix.strip_prefix('_').filter(|part| *part != "total");
    let name = family.name.strip_prefix(PREFIX).unwrap_or(family.name);
    let words = name.split('_').chain(suffix);
    qualified(&words.map(capitalised).collect::<String>())
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

/// `None` for a word that it is not, and for what systemd has no kind for.
fn value(kind: MetricKind, sample: &Sample) -> Option<Value> {
    match kind {
        MetricKind::Words if sample.value == 1.0 => {
            label(sample, |name| name != PROXY).map(Value::from)
        }
        MetricKind::Words => None,
        MetricKind::Histogram if sample.suffix == "_bucket" => None,
        _ => Some(number(sample.value)),
    }
}

/// An integer if it is one.
fn number(value: f64) -> Value {
    // Beyond that, f64 has no odd numbers.
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    match value.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&value) {
        true => Value::from(value as u64),
        false => Value::from(value),
    }
}

fn label(sample: &Sample, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    let mut labels = sample.labels.iter();
    let (_, value) = labels.find(|(name, _)| is_it(name))?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    use crate::ctl::metrics::families::families;
    use crate::ctl::metrics::families::tests::running;
    use crate::ctl::metrics::values::ProxyState;

    fn call(method: &str) -> Call {
        Call {
            method: format!("io.systemd.Metrics.{method}"),
            more: true,
            ..Call::default()
        }
    }

    /// The parameters of all replies, of which only the last one is marked as such.
    fn parameters(replies: Vec<Reply>) -> Vec<Value> {
        let (last, others) = replies.split_last().unwrap();
        assert!(!last.continues && others.iter().all(|reply| reply.continues));
        assert!(replies.iter().all(|reply| reply.error.is_none()));
        let parameters = replies.into_iter().map(|reply| reply.parameters);
        parameters.collect()
    }

    fn two_proxies() -> Vec<Value> {
        let running = ProxyState::Running(running().into());
        let lost = ProxyState::Unreachable;
        let proxies = [("web".to_owned(), running), ("db".to_owned(), lost)];
        parameters(values(&families(&proxies)))
    }

    #[test]
    fn values_have_the_names_and_the_kinds_of_systemd() {
        let metrics = two_proxies();
        for (name, proxy, value) in [
            ("Process", "web", json!("running")),
            ("Process", "db", json!("unreachable")),
            ("Gate", "web", json!("open")),
            ("Build", "web", json!("0.1.0")),
            ("ConnectionsOpen", "web", json!(3)),
            ("ConnectionsAccepted", "web", json!(10)),
            ("SentBytes", "web", json!(2048)),
            ("DrainDurationSecondsCount", "web", json!(3)),
            ("DrainDurationSecondsSum", "web", json!(2.5)),
        ] {
            let name = format!("io.github.disnix-proxy-example.Proxy.{name}");
            let metric = json!({ "name": name, "value": value, "object": proxy });
            assert!(metrics.contains(&metric), "{metric}\n{metrics:#?}");
        }
    }

    /// The rules of `systemd-report`: a metric that breaks one is dropped, and the report fails.
    #[test]
    fn every_name_is_one_that_systemd_takes_and_is_described_once() {
        let mut kinds = BTreeMap::new();
        for family in parameters(descriptions(&families(&[]))) {
            let name = family["name"].as_str().unwrap().to_owned();
            let (interface, field) = name.rsplit_once('.').unwrap();
            assert_eq!(interface, INTERFACE);
            assert!(field.starts_with(|c: char| c.is_ascii_alphabetic()));
            assert!(field.chars().all(|c| c.is_ascii_alphanumeric()), "{field}");
            assert!(family["description"].as_str().unwrap().ends_with('.'));
            let kind = family["type"].as_str().unwrap().to_owned();
            assert!(["counter", "gauge", "string"].contains(&&*kind), "{kind}");
            assert_eq!(kinds.insert(name, kind), None);
        }
        let mut listed = BTreeSet::new();
        for metric in two_proxies() {
            let (name, object) = (&metric["name"], &metric["object"]);
            let kind = &kinds[name.as_str().unwrap()];
            assert_eq!(metric["value"].is_string(), kind == "string", "{metric}");
            assert!(metric["value"].is_string() || metric["value"].is_number());
            assert!(listed.insert((name.to_string(), object.to_string())));
        }
    }

    #[test]
    fn without_a_proxy_there_is_no_such_metric() {
        let replies = values(&families(&[]));
        let [reply] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!(reply.error.as_deref(), Some(NO_SUCH_METRIC));
        assert!(!reply.continues);
    }

    #[test]
    fn what_is_no_call_of_the_interface_is_refused() {
        assert_eq!(ReportMethod::of(&call("List")), Ok(ReportMethod::List));
        let describe = ReportMethod::of(&call("Describe"));
        assert_eq!(describe, Ok(ReportMethod::Describe));
        let with = |parameters| Call {
            parameters,
            ..call("List")
        };
        assert!(ReportMethod::of(&with(json!({}))).is_ok());
        let once = Call {
            more: false,
            ..call("Describe")
        };
        let other = Call {
            method: qualified("Unlock"),
            ..call("")
        };
        for (call, error) in [
            (with(json!({ "name": "x" })), "InvalidParameter"),
            (once, "ExpectedMore"),
            (call("Delete"), "MethodNotFound"),
            (other, "InterfaceNotFound"),
        ] {
            let refusal = ReportMethod::of(&call).unwrap_err().error.unwrap();
            assert_eq!(refusal, format!("org.varlink.service.{error}"));
        }
    }

    #[test]
    fn the_name_of_its_socket_says_what_is_spoken_there() {
        let name = format!("unix:/run/systemd/report/{INTERFACE}");
        assert!(is_for_report(&name));
        for other in [
            "127.0.0.1:9549",
            "unix:/run/disnix-tcp-proxy-metrics.sock",
            &name.to_lowercase(),
            &format!("{name}/socket"),
            "unix",
        ] {
            assert!(!is_for_report(other), "{other}");
        }
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(number(0.0), json!(0));
        assert_eq!(number(1e15), json!(1_000_000_000_000_000_u64));
        assert_eq!(number(5.5), json!(5.5));
        assert_eq!(number(-1.0), json!(-1.0));
        assert_eq!(number(1e30), json!(1e30));
    }
}
