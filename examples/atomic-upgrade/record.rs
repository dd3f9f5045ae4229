//! The record of a performance: every client with its times, samples of the proxy's status, the time of
//! each program and phase, and the kills of the proxy. The drawings, the table and the verdict are made
//! from it alone.

use std::collections::BTreeMap;
use std::time::Duration;

use disnix_proxy_example::interface::GateState;

pub use held::{Answer, Held, Kill};

mod held;

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

    /// How many clients waited at this moment.
    pub fn waiting_at(&self, moment: Duration) -> usize {
        let waits = |visit: &&Visit| {
            visit.arrived < moment && visit.ended.as_ref().is_none_or(|end| end.0 >= moment)
        };
        self.visits.iter().filter(waits).count()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::story::phase;

    /// A small story: 100 clients, one every 10 ms; locked from 200 to 600 ms; then version 2.
    pub fn example() -> Record {
        let ms = Duration::from_millis;
        let visit = |number: u64| {
            let arrived = number * 10;
            let (ended, version) = match arrived {
                0..200 => (arrived + 1, Version::One),
                200..600 => (600 + number, Version::Two),
                _ => (arrived.max(660) + 1, Version::Two),
            };
            let ended = Some((ms(ended), Outcome::Served(version)));
            Visit {
                arrived: ms(arrived),
                ended,
            }
        };
        let lane = |who, from, to: Option<u64>| {
            let spans = vec![(ms(from), to.map(ms))];
            let marks = vec![(ms(from + 20), Version::One)];
            (who, Lane { spans, marks })
        };
        let answer = |(asked, at, version)| Answer {
            asked: ms(asked),
            at: ms(at),
            version,
        };
        let held = |who, opened, ended, answers: [_; 2]| Held {
            who,
            opened: ms(opened),
            answers: answers.map(answer).to_vec(),
            ended: Some((ms(ended), Ok(()))),
        };
        let talks = |opened| {
            let answers = [(opened, opened + 1, Version::One), (148, 153, Version::One)];
            held(Who::Company, opened, 190, answers)
        };
        let stays = [(160, 161, Version::One), (500, 601, Version::Two)];
        Record {
            length: ms(1000),
            visits: (0..100).map(visit).collect(),
            samples: vec![
                (ms(0), 1, 0),
                (ms(400), 0, 20),
                (ms(600), 9, 0),
                (ms(700), 0, 0),
            ],
            lanes: BTreeMap::from([
                lane(Who::First, 0, Some(395)),
                lane(Who::Stays, 160, Some(950)),
                lane(Who::Proxy, 0, None),
                lane(Who::Server(Version::One), 0, Some(450)),
                lane(Who::Server(Version::Two), 460, None),
            ]),
            beginnings: vec![
                (ms(0), GateState::Open, phase::BEFORE),
                (ms(200), GateState::Draining, phase::DRAINING),
                (ms(400), GateState::Locked, phase::LOCKED),
                (ms(600), GateState::Open, phase::AFTER),
            ],
            held: vec![talks(0), talks(100), held(Who::Stays, 160, 950, stays)],
            kills: vec![Kill {
                at: ms(145),
                back: Some(ms(151)),
            }],
        }
    }

    #[test]
    fn phases_follow_each_other_without_gaps() {
        let phases = example().phases();
        assert!(phases.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!(phases.last().unwrap().to, Duration::from_secs(1));
    }

    #[test]
    fn columns_count_every_client_once_however_many_there_are() {
        for count in [1, 2, 7, 100, 1000] {
            let columns = example().columns(count);
            assert_eq!(columns.len(), count);
            let last = columns.last().unwrap();
            assert_eq!(
                (last.arrived, last.served),
                (100, [20, 80]),
                "{count} columns"
            );
            assert_eq!(columns.iter().map(|column| column.waiting).max(), Some(42));
            assert_eq!(columns.iter().map(|column| column.open).max(), Some(9));
        }
    }

    #[test]
    fn a_failure_is_seen_in_its_column_alone() {
        let mut record = example();
        let reason = Outcome::Failed("refused".to_owned());
        record.visits[50].ended = Some((Duration::from_millis(505), reason));
        let failed: Vec<u32> = record
            .columns(10)
            .iter()
            .map(|column| column.failed)
            .collect();
        assert_eq!(failed, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(record.failures().count(), 1);
    }

    #[test]
    fn a_held_connection_that_is_lost_is_seen_like_a_failure() {
        let mut record = example();
        record.held[0].ended = Some((Duration::from_millis(150), Err("reset".to_owned())));
        let columns = record.columns(10);
        assert_eq!(columns.iter().map(|column| column.failed).sum::<u32>(), 1);
        assert_eq!(columns.last().unwrap().arrived, 100);
    }

    #[test]
    fn nothing_seen_is_drawn_as_nothing() {
        assert_eq!(Record::default().columns(3), [Column::default(); 3]);
        assert!(Record::default().phases().is_empty());
    }
}
