//! The record of a performance: every client with its times, samples of the proxy's status, the time of
//! each program and phase, and the kills of the proxy. The drawings, the table and the verdict are made
//! from it alone.

use std::collections::BTreeMap;
use std::time::Duration;

use disnix_proxy_example::interface::GateState;

pub use held::{Answer, Held, Kill};

mod held;
#[cfg(test)]
pub mod tests;

/// A short client.
#[derive(Clone, Debug)]
pub struct Visit {
    /// When it began to connect.
    pub arrived: Duration,
    /// When it got its answer or failed; `None` while it waits.
    pub ended: Option<(Duration, Outcome)>,
}

impl Visit {
    /// How long it waited for its answer.
    pub fn waited(&self) -> Option<Duration> {
        Some(self.ended.as_ref()?.0.saturating_sub(self.arrived))
    }
}

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This version of the server answered.
    Served(Version),
    /// It failed, for this reason.
    Failed(String),
}

/// A version of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Before the upgrade.
    One,
    /// After it.
    Two,
}

/// The time between two actions of the administrator.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its title.
    pub title: &'static str,
    /// The gate in it.
    pub gate: GateState,
    /// When it began.
    pub from: Duration,
    /// When the next one began, or the end.
    pub to: Duration,
}

/// The subject of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The first client, for which the drain waits.
    First,
    /// The clients that keep talking.
    Company,
    /// The client that stays through the upgrade.
    Stays,
    /// The proxy.
    Proxy,
    /// The second proxy, through which the client stays.
    SecondProxy,
    /// A version of the server.
    Server(Version),
}

impl Who {
    /// Its title in the drawings.
    pub fn title(self) -> &'static str {
        match self {
            Self::First => "first client",
            Self::Company => "clients that talk",
            Self::Stays => "client that stays",
            Self::Proxy => "proxy",
            Self::SecondProxy => "second proxy",
            Self::Server(Version::One) => "server, version 1",
            Self::Server(Version::Two) => "server, version 2",
        }
    }
}

/// When a program ran, or a client was connected.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// From and to; without end while it lasts.
    pub spans: Vec<(Duration, Option<Duration>)>,
    /// When a hello was answered, and by which version.
    pub marks: Vec<(Duration, Version)>,
}

/// The record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The time from the beginning to the end.
    pub length: Duration,
    /// The short clients, in the order of their arrival.
    pub visits: Vec<Visit>,
    /// The proxy's status: the time, open connections, clients in the kernel's queue.
    pub samples: Vec<(Duration, usize, u32)>,
    /// The lanes, in the order of the drawings.
    pub lanes: BTreeMap<Who, Lane>,
    /// When each phase began; [`Self::phases`] has the ends too.
    pub beginnings: Vec<(Duration, GateState, &'static str)>,
    /// The connections that stayed open.
    pub held: Vec<Held>,
    /// When the proxy was killed.
    pub kills: Vec<Kill>,
}

/// One of equally wide slices of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// The most clients that waited for an answer at once.
    pub waiting: u32,
    /// The most connections that were open.
    pub open: u32,
    /// Clients that had arrived by its end.
    pub arrived: u32,
    /// Clients that had been served by its end, by version.
    pub served: [u32; 2],
    /// Clients that failed in it, and held connections that were lost.
    pub failed: u32,
    /// Clients that had failed by its end.
    pub failed_so_far: u32,
}

/// A change at a moment, applied to the column with a number.
type Change = (Duration, fn(&mut Column, usize), usize);

impl Record {
    /// The phases, one after the other without gaps.
    pub fn phases(&self) -> Vec<Phase> {
        let ends = self.beginnings.iter().skip(1).map(|next| next.0);
        let ends = ends.chain([self.length]);
        let phase = |(&(from, gate, title), to)| Phase {
            title,
            gate,
            from,
            to,
        };
        self.beginnings.iter().zip(ends).map(phase).collect()
    }

    /// When the phase with this title began.
    pub fn beginning(&self, title: &str) -> Option<Duration> {
        Some(self.beginnings.iter().find(|phase| phase.2 == title)?.0)
    }

    /// The lane of `who`, for an entry.
    pub fn lane(&mut self, who: Who) -> &mut Lane {
        self.lanes.entry(who).or_default()
    }

    /// The clients that were served from `from` until before `to`, with the version.
    pub fn served(&self, from: Duration, to: Duration) -> impl Iterator<Item = (&Visit, Version)> {
        let visits = self.visits.iter();
        visits.filter_map(move |visit| match visit.ended {
            Some((at, Outcome::Served(version))) if (from..to).contains(&at) => {
                Some((visit, version))
            }
            _ => None,
        })
    }

    /// The clients that failed, with the time and the reason.
    pub fn failures(&self) -> impl Iterator<Item = (Duration, &str)> {
        self.visits.iter().filter_map(|visit| match &visit.ended {
            Some((at, Outcome::Failed(reason))) => Some((*at, reason.as_str())),
            _ => None,
        })
    }

    /// The longest wait of a client for its answer.
    pub fn longest_wait(&self) -> Duration {
        let waits = self.visits.iter().filter_map(Visit::waited);
        waits.max().unwrap_or_default()
    }

    /// The data of the drawings: `count` slices of the same length.
    pub fn columns(&self, count: usize) -> Vec<Column> {
        let width = self.length.max(Duration::from_millis(1)).as_secs_f64() / count.max(1) as f64;
        let mut changes = self.changes().into_iter().peekable();
        let mut columns = Vec::with_capacity(count);
        let mut now = Column::default();
        for index in 1..=count {
            let is_in =
                |change: &Change| index == count || change.0.as_secs_f64() < width * index as f64;
            now.failed = 0;
            let (mut waiting, mut open) = (now.waiting, now.open);
            while let Some((_, apply, number)) = changes.next_if(is_in) {
                apply(&mut now, number);
                (waiting, open) = (waiting.max(now.waiting), open.max(now.open));
            }
            columns.push(Column {
                waiting,
                open,
                ..now
            });
        }
        columns
    }

    /// All changes, in the order of time.
    fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for visit in &self.visits {
            let arrival = |now: &mut Column, _| {
                now.arrived += 1;
                now.waiting += 1;
            };
            changes.push((visit.arrived, arrival, 0));
            match visit.ended {
                None => {}
                Some((at, Outcome::Served(version))) => {
                    let service = |now: &mut Column, version: usize| {
                        now.served[version] += 1;
                        now.waiting = now.waiting.saturating_sub(1);
                    };
                    changes.push((at, service, version as usize));
                }
                Some((at, Outcome::Failed(_))) => {
                    let failure = |now: &mut Column, _| {
                        now.failed += 1;
                        now.failed_so_far += 1;
                        now.waiting = now.waiting.saturating_sub(1);
                    };
                    changes.push((at, failure, 0));
                }
            }
        }
        for (at, _) in self.losses() {
            changes.push((at, |now, _| now.failed += 1, 0));
        }
        for &(at, open, _) in &self.samples {
            changes.push((at, |now, open| now.open = open as u32, open));
        }
        changes.sort_by_key(|change| change.0);
        changes
    }

    /// The most clients that waited at once, from `from` until before `to`.
    pub fn most_waiting(&self, from: Duration, to: Duration) -> usize {
        let mut arrivals: Vec<Duration> = self.visits.iter().map(|visit| visit.arrived).collect();
        let ends = self.visits.iter().filter_map(|visit| visit.ended.as_ref());
        let mut ends: Vec<Duration> = ends.map(|end| end.0).collect();
        arrivals.sort_unstable();
        ends.sort_unstable();
        let before = |moments: &[Duration], moment| moments.partition_point(|at| *at < moment);
        let waiting = |at| before(&arrivals, at).saturating_sub(before(&ends, at));
        // Most wait just after an arrival, or at the very beginning.
        let within = arrivals.iter().filter(|at| (from..to).contains(*at));
        let after_arrivals = within.map(|at| waiting(*at) + 1);
        let most = after_arrivals.chain([waiting(from)]).max();
        most.unwrap_or(0)
    }
}
