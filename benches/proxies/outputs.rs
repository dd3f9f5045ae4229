//! What the users' tools print.

/// What a tool has measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Output {
    /// Requests, connections or bytes in its whole run.
    pub count: u64,
    /// The same a second.
    pub rate: f64,
    /// The time that half of the requests need at most, and 99 of 100, in microseconds.
    pub times: Option<[f64; 2]>,
}

/// The output of `wrk --latency`.
///
/// # Errors
///
/// When it is another one, or when requests have failed.
pub fn wrk(text: &str) -> Result<Output, String> {
    let failed = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
    if let Some(line) = text.lines().find(failed) {
        return Err(format!("wrk: {}", line.trim()));
    }
    let after = |begin: &str| {
        let mut lines = text.lines().map(str::trim);
        Some(lines.find_map(|line| line.strip_prefix(begin))?.trim())
    };
    let parsed = || {
        let rate = after("Requests/sec:")?.parse().ok()?;
        let times = Some([microseconds(after("50%")?)?, microseconds(after("99%")?)?]);
        let mut lines = text.lines().map(str::trim);
        let count = lines.find_map(|line| line.split_once(" requests in "))?.0;
        let count = count.parse().ok()?;
        Some(Output { count, rate, times })
    };
    parsed().ok_or_else(|| format!("wrk has printed something else: {text}"))
}

/// A time with its unit.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}

/// The output of `iperf3 --json`.
///
/// # Errors
///
/// When it is another one, or when iperf3 has failed.
pub fn iperf3(text: &str) -> Result<Output, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("iperf3: {error}: {text}"))?;
    if let Some(error) = value.get("error") {
        return Err(format!("iperf3: {error}"));
    }
    let received = || {
        let received = value.pointer("/end/sum_received")?;
        Some(Output {
            count: received.get("bytes")?.as_u64()?,
            rate: received.get("bits_per_second")?.as_f64()? / 8.0,
            times: None,
        })
    };
    received().ok_or_else(|| format!("iperf3 has printed something else: {text}"))
}
