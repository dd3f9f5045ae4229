//! Text for Prometheus, in the format of OpenMetrics 1.0. Pure.

use std::fmt::Write;

/// What is at the end of the text.
const END: &str = "# EOF\n";

/// What the text is called in HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The kind of a family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Gauge,
    Counter,
    Histogram,
    /// A word of several: a sample for each, with 1 for the one that it is.
    Words,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge | Self::Words => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What each metric is, without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricFamily {
    /// Ends with the unit, if there is one.
    pub name: &'static str,
    pub kind: MetricKind,
    /// `seconds`, `bytes`, or nothing.
    pub unit: &'static str,
    pub help: &'static str,
}

/// A value, with what tells it from the others of its family.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What follows the name of the family: `_total` of a counter, `_bucket` and the like of a histogram.
    pub suffix: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// The text of these families, without those that have no sample.
pub fn text(families: &[(MetricFamily, Vec<Sample>)]) -> String {
    let mut text = String::new();
    for (family, samples) in families.iter().filter(|(_, samples)| !samples.is_empty()) {
        let (name, kind) = (family.name, family.kind.as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} {kind}");
        if !family.unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {}", family.unit);
        }
        let _ = writeln!(text, "# HELP {name} {}", escaped(family.help));
        for sample in samples {
            let _ = writeln!(text, "{name}{}", line(sample));
        }
    }
    text.push_str(END);
    text
}

fn line(sample: &Sample) -> String {
    let label = |(name, value): &(&str, String)| format!("{name}=\"{}\"", escaped(value));
    let labels: Vec<String> = sample.labels.iter().map(label).collect();
    format!("{}{{{}}} {}", sample.suffix, labels.join(","), sample.value)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_lines_together_and_the_text_has_an_end() {
        let bytes = MetricFamily {
            name: "p_sent_bytes",
            kind: MetricKind::Counter,
            unit: "bytes",
            help: "To clients.",
        };
        let none = MetricFamily {
            name: "p_none",
            kind: MetricKind::Gauge,
            unit: "",
            help: "Nothing.",
        };
        let sample = |proxy: &str, value: f64| Sample {
            suffix: "_total",
            labels: vec![("proxy", proxy.to_owned()), ("a", "b".to_owned())],
            value,
        };
        let samples = vec![sample("web", 7.0), sample("a\"\\\n", 1e15)];
        assert_eq!(
            text(&[(bytes, samples), (none, Vec::new())]),
            "# TYPE p_sent_bytes counter\n\
             # UNIT p_sent_bytes bytes\n\
             # HELP p_sent_bytes To clients.\n\
             p_sent_bytes_total{proxy=\"web\",a=\"b\"} 7\n\
             p_sent_bytes_total{proxy=\"a\\\"\\\\\\n\",a=\"b\"} 1000000000000000\n\
             # EOF\n"
        );
        assert_eq!(text(&[]), "# EOF\n");
    }
}
