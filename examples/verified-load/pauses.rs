//! The times of answers.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The resolution: 0.1 ms.
const STEP: Duration = Duration::from_micros(100);
/// Ten seconds; longer times are counted here too.
const STEPS: usize = 100_000;

/// A histogram of the times of answers.
#[derive(Debug)]
pub struct Pauses {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
    longest_at: Duration,
}

/// The summary of a histogram.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub answers: u64,
    pub median_ms: f64,
    pub p99_ms: f64,
    pub longest_pause_ms: f64,
    /// When the packet with the longest wait was sent, in seconds after the start.
    pub longest_pause_at: f64,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            counts: vec![0; STEPS + 1],
            count: 0,
            longest: Duration::ZERO,
            longest_at: Duration::ZERO,
        }
    }
}

impl Pauses {
    /// Records an answer now to a packet of that time.
    pub fn add(&mut self, sent: Instant, now: Instant, beginning: Instant) {
        let took = now.duration_since(sent);
        let step = (took.as_micros() / STEP.as_micros()) as usize;
        self.counts[step.min(STEPS)] += 1;
        self.count += 1;
        if took > self.longest {
            self.longest = took;
            self.longest_at = sent.saturating_duration_since(beginning);
        }
    }

    /// Clears it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The quantile of this part of all answers, in milliseconds.
    fn quantile(&self, part: f64) -> f64 {
        let rank = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        step.unwrap_or(0) as f64 * milliseconds(STEP)
    }

    pub fn summary(&self) -> Summary {
        Summary {
            answers: self.count,
            median_ms: rounded(self.quantile(0.5)),
            p99_ms: rounded(self.quantile(0.99)),
            longest_pause_ms: rounded(milliseconds(self.longest)),
            longest_pause_at: rounded(self.longest_at.as_secs_f64()),
        }
    }
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// With three decimals.
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[test]
fn the_longest_and_the_quantiles_are_found() {
    let beginning = Instant::now();
    let mut pauses = Pauses::default();
    for millisecond in 1..=100 {
        let sent = beginning + Duration::from_secs(millisecond);
        pauses.add(sent, sent + Duration::from_millis(millisecond), beginning);
    }
    let summary = pauses.summary();
    assert_eq!(summary.answers, 100);
    assert_eq!(summary.median_ms, 50.0);
    assert_eq!(summary.p99_ms, 99.0);
    assert_eq!(summary.longest_pause_ms, 100.0);
    assert_eq!(summary.longest_pause_at, 100.0);
}
