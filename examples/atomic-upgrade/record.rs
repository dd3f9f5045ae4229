//! What was seen: every client with its times, samples of the proxy's status, when each program
//! ran, the phases of the story, and when the proxy was killed. The drawings, the table and the verdict are made from this
//! alone.

use std::time::Duration;

use disnix_proxy_example::interface::GateState;

pub use held::{Held, Kill};

mod held;

/// One client: when it came, and how it ended.
#[derive(Clone, Debug)]
pub struct Visit {
    /// When it began to connect.
    pub arrived: Duration,
    /// When it had its answer or knew that it would get none; `None` while it waits.
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
    /// This version of the server answered: 1 or 2.
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

/// A stretch of the story between two things that the administrator did or saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// What it is called.
    pub title: &'static str,
    /// What the gate is in it.
    pub gate: GateState,
    /// When it began.
    pub from: Duration,
    /// When the next one began, or the end.
    pub to: Duration,
}

/// Who runs, or stays connected, in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The client that stays.
    Guest,
    /// Those that keep talking.
    Company,
    /// The proxy.
    Proxy,
    /// A version of the server.
    Server(Version),
}

impl Who {
    /// Its name, as people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Guest => "client that stays",
            Self::Company => "clients that talk",
            Self::Proxy => "proxy",
            Self::Server(Version::One) => "server, version 1",
            Self::Server(Version::Two) => "server, version 2",
        }
    }
}

/// When somebody was there: any number of times, with marks for what it did.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Who.
    pub who: Who,
    /// From and to; without end while it is there.
    pub spans: Vec<(Duration, Option<Duration>)>,
    /// Moments worth a dot.
    pub marks: Vec<Duration>,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// From the beginning to the end, or until now.
    pub length: Duration,
    /// The clients, in the order in which they came.
    pub visits: Vec<Visit>,
    /// What the proxy's status said: when, open connections, clients in the kernel's queue.
    pub samples: Vec<(Duration, usize, u32)>,
    /// In the order of [`Who`].
    pub lanes: Vec<Lane>,
    /// When each phase began; [`Self::phases`] has the ends too.
    pub beginnings: Vec<(Duration, GateState, &'static str)>,
    /// The connections that stayed open.
    pub held: Vec<Held>,
    /// When the proxy was killed.
    pub kills: Vec<Kill>,
}

/// What happened in one of equally wide slices of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// The most clients that waited for an answer at once.
    pub waiting: u32,
    /// The most connections that were open.
    pub open: u32,
    /// Clients that had come by its end.
    pub arrived: u32,
    /// Clients that had been served by its end, by version.
    pub served: [u32; 2],
    /// Clients that failed in it, and held connections that were lost.
    pub failed: u32,
    /// Clients that had failed by its end.
    pub failed_so_far: u32,
}

/// What changes from one moment to the next.
enum Change {
    Arrived,
    Served(Version),
    Failed,
    Lost,
    Open(u32),
}

impl Record {
    /// The phases, one after the other without gaps.
    pub fn phases(&self) -> Vec<Phase> {
        let ends = self.beginnings.iter().skip(1).map(|next| next.0);
        let ends = ends.chain([self.length]);
        let with_end = self.beginnings.iter().zip(ends);
        with_end
            .map(|(&(from, gate, title), to)| Phase {
                title,
                gate,
                from,
                to,
            })
            .collect()
    }

    /// When the phase with this title began.
    pub fn beginning(&self, title: &str) -> Option<Duration> {
        Some(self.beginnings.iter().find(|phase| phase.2 == title)?.0)
    }

    /// The lane of `who`.
    pub fn lane(&self, who: Who) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.who == who)
    }

    /// The clients that were served from `from` until before `to`, with the time and the version.
    pub fn served(&self, from: Duration, to: Duration) -> impl Iterator<Item = (&Visit, Version)> {
        self.visits
            .iter()
            .filter_map(move |visit| match &visit.ended {
                Some((at, Outcome::Served(version))) if (from..to).contains(at) => {
                    Some((visit, *version))
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

    /// The story in `count` slices of the same length: what the drawings draw.
    pub fn columns(&self, count: usize) -> Vec<Column> {
        let mut changes = Vec::new();
        for visit in &self.visits {
            changes.push((visit.arrived, Change::Arrived));
            match &visit.ended {
                Some((at, Outcome::Served(version))) => {
                    changes.push((*at, Change::Served(*version)));
                }
                Some((at, Outcome::Failed(_))) => changes.push((*at, Change::Failed)),
                None => {}
            }
        }
        changes.extend(self.losses().map(|loss| (loss.0, Change::Lost)));
        for &(at, open, _) in &self.samples {
            changes.push((at, Change::Open(open.try_into().unwrap_or(u32::MAX))));
        }
        changes.sort_by_key(|change| change.0);
        let width = self.length.max(Duration::from_millis(1)).as_secs_f64() / count.max(1) as f64;
        let mut changes = changes.into_iter().peekable();
        let mut columns = Vec::with_capacity(count);
        let mut now = Column::default();
        for index in 1..=count {
            let last = index == count;
            let mut column = now;
            while let Some((_, change)) =
                changes.next_if(|change| last || change.0.as_secs_f64() < width * index as f64)
            {
                match change {
                    Change::Arrived => {
                        (now.arrived, now.waiting) = (now.arrived + 1, now.waiting + 1)
                    }
                    Change::Served(version) => {
                        now.served[version as usize] += 1;
                        now.waiting = now.waiting.saturating_sub(1);
                    }
                    Change::Failed => {
                        column.failed += 1;
                        now.failed_so_far += 1;
                        now.waiting = now.waiting.saturating_sub(1);
                    }
                    Change::Lost => column.failed += 1,
                    Change::Open(open) => now.open = open,
                }
                column.waiting = column.waiting.max(now.waiting);
                column.open = column.open.max(now.open);
            }
            (column.arrived, column.served) = (now.arrived, now.served);
            column.failed_so_far = now.failed_so_far;
            columns.push(column);
        }
        columns
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
        let lane = |who, from, to: Option<u64>| Lane {
            who,
            spans: vec![(ms(from), to.map(ms))],
            marks: vec![ms(from + 20)],
        };
        let held = |opened| Held {
            opened: ms(opened),
            answers: vec![(ms(opened), ms(opened + 1)), (ms(148), ms(153))],
            ended: Some((ms(190), Ok(()))),
        };
        Record {
            length: ms(1000),
            visits: (0..100).map(visit).collect(),
            samples: vec![
                (ms(0), 1, 0),
                (ms(400), 0, 20),
                (ms(600), 9, 0),
                (ms(700), 0, 0),
            ],
            lanes: vec![
                lane(Who::Guest, 0, Some(395)),
                lane(Who::Proxy, 0, None),
                lane(Who::Server(Version::One), 0, Some(450)),
                lane(Who::Server(Version::Two), 460, None),
            ],
            beginnings: vec![
                (ms(0), GateState::Open, phase::BEFORE),
                (ms(200), GateState::Draining, phase::DRAINING),
                (ms(400), GateState::Locked, phase::LOCKED),
                (ms(600), GateState::Open, phase::AFTER),
            ],
            held: vec![held(0), held(100)],
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
