//! A load with its figures, and in which units they are.

use crate::candidates::Candidate;
use crate::load::idle::Held;
use crate::network::Setting;
use crate::pattern::Protocol;
use crate::tools::outputs::Output;
use crate::tools::tool::{Program, Tool};
use crate::window::Seen;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Receive this number of long streams.
    Bulk(usize),
    /// Keep this number of connections alive with one request after the other.
    Requests(usize),
    /// Open connections for one request each, this number at a time.
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
    /// What it is about: columns of one subject measure it with different loads.
    pub subject: &'static str,
    /// What the clients do.
    pub load: Load,
    /// What clients and service speak.
    pub protocol: Protocol,
    /// Whether clients, proxy and service share one processor.
    pub pinned: bool,
    /// Where it is measured.
    pub setting: Setting,
    /// What is seen.
    pub metrics: &'static [Metric],
}

impl Metric {
    /// One of which more is better.
    pub const fn more(name: &'static str, digits: usize, goal: f64) -> Self {
        Self {
            name,
            more: true,
            goal: Some(goal),
            own: None,
            digits,
        }
    }

    /// One of which less is better.
    pub const fn less(name: &'static str, digits: usize, goal: Option<f64>) -> Self {
        Self {
            name,
            more: false,
            goal,
            own: None,
            digits,
        }
    }

    /// The same with a goal of one candidate against another one.
    pub const fn own(self, who: Candidate, against: Candidate, goal: f64) -> Self {
        Self {
            own: Some((who, against, goal)),
            ..self
        }
    }

    /// How much better `value` is than `other`.
    pub fn ratio(&self, value: f64, other: f64) -> f64 {
        match self.more {
            true => value / other,
            false => other / value,
        }
    }
}

impl Column {
    /// Whether networks and congestion controls make a difference: not to memory.
    pub fn depends_on_setting(&self) -> bool {
        self.load != Load::Idle
    }

    /// The same in each of these settings.
    pub fn in_each(&self, settings: &[Setting]) -> Vec<Self> {
        let settings = settings.iter();
        settings.map(|&setting| Self { setting, ..*self }).collect()
    }

    /// What makes the load.
    pub fn source(&self) -> String {
        self.tool().map_or_else(|| "own".to_owned(), Tool::name)
    }

    /// For the tables.
    pub fn title(&self) -> String {
        let setting = match self.setting {
            Setting::MACHINE => String::new(),
            setting => format!(", {}", setting.name()),
        };
        match self.tool() {
            Some(_) => format!("{}: {}{setting}", self.subject, self.source()),
            None => format!("{}{setting}", self.subject),
        }
    }

    /// Whether a candidate is measured: in HTTP those that know where a request ends, and what our proxy is
    /// compared with.
    pub fn has(&self, candidate: Candidate) -> bool {
        let is_plain = self.protocol == Protocol::Plain;
        match candidate {
            Candidate::Ours
            | Candidate::Other
            | Candidate::Haproxy { splice: false, .. }
            | Candidate::Nginx { .. } => true,
            Candidate::SocketProxyd | Candidate::Copy => is_plain,
            // It makes everything but bulk more expensive.
            Candidate::Haproxy { splice: true, .. } => self.is_bulk(),
            Candidate::Requests => !is_plain,
            // Only our service takes clients over.
            Candidate::Detaching | Candidate::Handover | Candidate::Nobody => {
                let mut own = self.metrics.iter().filter_map(|metric| metric.own);
                self.tool().is_none() && own.any(|it| it.0 == candidate || it.1 == candidate)
            }
        }
    }

    fn is_bulk(&self) -> bool {
        match self.load {
            Load::Bulk(_) => true,
            Load::Tool(tool) => tool.program == Program::Iperf3,
            _ => false,
        }
    }

    /// The one of ours that is compared with the best peer.
    pub fn ours(&self) -> Candidate {
        match self.protocol {
            Protocol::Plain => Candidate::Ours,
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
                match self.metrics.len() {
                    1 => vec![quantile(&seen.times, 0.5)],
                    _ => vec![
                        Some(units / seen.seconds),
                        each,
                        quantile(&seen.times, 0.99),
                    ],
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
        let all = match self.tool().map(|tool| tool.program) {
            Some(Program::Iperf3) => [Some(output.rate * 8.0 / 1e9), cpu(f64::from(1 << 30)), None],
            _ => [Some(output.rate), cpu(1e6), output.p99],
        };
        all[..self.metrics.len()].to_vec()
    }

    /// What makes the load, if we do not.
    pub fn tool(&self) -> Option<Tool> {
        match self.load {
            Load::Tool(tool) => Some(tool),
            _ => None,
        }
    }

    /// The figures of connections that were held; `uncharged` bytes belong to each beside.
    pub fn of_held(&self, held: &Held, count: usize, uncharged: u64) -> Vec<Option<f64>> {
        let each = held.with.saturating_sub(held.before) as f64 / count as f64;
        let each = (each + uncharged as f64) / 1024.0;
        let without = held.before as f64 / 1024.0 / 1024.0;
        [each, without].map(Some)[..self.metrics.len()].to_vec()
    }
}

/// In microseconds, of sorted nanoseconds.
fn quantile(times: &[u32], part: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    Some(f64::from(times[(last as f64 * part).round() as usize]) / 1000.0)
}
