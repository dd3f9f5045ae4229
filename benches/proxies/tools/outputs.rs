//! What the tools print.

use std::str::FromStr;

/// What a tool has measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Output {
    /// Requests, connections or bytes in its whole run.
    pub count: u64,
    /// The same a second.
    pub rate: f64,
    /// The time that 99 of 100 requests need at most, in microseconds, if the tool says it.
    pub p99: Option<f64>,
}

impl Output {
    /// This run and another one after it. The time between them does not count.
    pub fn and(self, other: &Self) -> Self {
        let seconds = [self, *other].map(|run| run.count as f64 / run.rate);
        let count = self.count + other.count;
        Self {
            count,
            rate: count as f64 / seconds.iter().sum::<f64>(),
            p99: None,
        }
    }
}

/// The output of `wrk --latency`.
///
/// # Errors
///
/// When it is another one, or when requests have failed.
pub fn wrk(text: &str) -> Result<Output, String> {
    for failed in ["Socket errors", "Non-2xx"] {
        none("wrk", text, failed)?;
    }
    let read = || {
        Some(Output {
            count: between(text, "", " requests in ")?,
            rate: between(text, "Requests/sec:", "")?,
            p99: Some(microseconds(&between::<String>(text, "99%", "")?)?),
        })
    };
    read().ok_or_else(|| unknown("wrk", text))
}

/// The output of `ab -q`.
///
/// # Errors
///
/// When it is another one, or when requests have failed.
pub fn ab(text: &str) -> Result<Output, String> {
    none("ab", text, "Non-2xx")?;
    let read = || {
        let count: u64 = between(text, "Complete requests:", "")?;
        let seconds: f64 = between(text, "Time taken for tests:", "seconds")?;
        let failed = between(text, "Failed requests:", "")?;
        Some((failed, output(count, count as f64 / seconds)))
    };
    unless_failed("ab", text, read())
}

/// The output of `h2load`.
///
/// # Errors
///
/// When it is another one, or when requests have failed.
pub fn h2load(text: &str) -> Result<Output, String> {
    let read = || {
        let count: u64 = between(text, "requests:", " total,")?;
        let succeeded: u64 = between(text, " done,", " succeeded,")?;
        let rate = between(text, "finished in ", " req/s")?;
        Some((count.saturating_sub(succeeded), output(count, rate)))
    };
    unless_failed("h2load", text, read())
}

/// The output of `redis-benchmark --csv` for one kind of requests, of which there were so many.
///
/// # Errors
///
/// When it is another one.
pub fn redis(text: &str, count: u64) -> Result<Output, String> {
    let read = || {
        let mut lines = text
            .lines()
            .skip_while(|line| !line.starts_with("\"test\""));
        let (names, values) = (lines.next()?, lines.next()?);
        let value = |name: &str| {
            let mut both = names.split(',').zip(values.split(','));
            let value = both.find(|(it, _)| it.trim_matches('"') == name)?.1;
            value.trim_matches('"').parse::<f64>().ok()
        };
        Some(Output {
            count,
            rate: value("rps")?,
            p99: Some(value("p99_latency_ms")? * 1e3),
        })
    };
    read().ok_or_else(|| unknown("redis-benchmark", text))
}

/// The output of `pgbench`.
///
/// # Errors
///
/// When it is another one, or when transactions have failed.
pub fn pgbench(text: &str) -> Result<Output, String> {
    let read = || {
        let count = between(text, "number of transactions actually processed:", "")?;
        let failed = between(text, "number of failed transactions:", "(")?;
        Some((failed, output(count, between(text, "tps =", "(")?)))
    };
    unless_failed("pgbench", text, read())
}

/// The output of `iperf3 --json`.
///
/// # Errors
///
/// When it is another one, or when iperf3 has failed.
pub fn iperf3(text: &str) -> Result<Output, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| unknown("iperf3", text))?;
    if let Some(error) = value.get("error") {
        return Err(format!("iperf3: {error}"));
    }
    let read = || {
        let received = value.pointer("/end/sum_received")?;
        let bits = received.get("bits_per_second")?.as_f64()?;
        Some(output(received.get("bytes")?.as_u64()?, bits / 8.0))
    };
    read().ok_or_else(|| unknown("iperf3", text))
}

fn output(count: u64, rate: f64) -> Output {
    Output {
        count,
        rate,
        p99: None,
    }
}

fn unless_failed(tool: &str, text: &str, read: Option<(u64, Output)>) -> Result<Output, String> {
    match read {
        Some((0, output)) => Ok(output),
        Some((failed, _)) => Err(format!("{tool}: {failed} requests have failed")),
        None => Err(unknown(tool, text)),
    }
}

fn unknown(tool: &str, text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    format!("{tool} has printed something else: {}", words.join(" "))
}

/// Says the line about what must not have happened.
fn none(tool: &str, text: &str, failed: &str) -> Result<(), String> {
    match text.lines().find(|line| line.contains(failed)) {
        Some(line) => Err(format!("{tool}: {}", line.trim())),
        None => Ok(()),
    }
}

/// The last word before `end`, in the line that begins with `begin` or has it in it.
fn between<T: FromStr>(text: &str, begin: &str, end: &str) -> Option<T> {
    let word = |line: &str| {
        let (_, rest) = line.split_once(begin)?;
        let value = match end {
            "" => rest,
            end => rest.split_once(end)?.0,
        };
        value.split_whitespace().next_back()?.parse().ok()
    };
    text.lines().find_map(word)
}

/// A time with its unit.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}
