//! Connections that stay open, and the effect of the kills on them.

use std::time::Duration;

use super::{Outcome, Record, Version, Who};

/// A connection over which a client sends hello repeatedly.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its client.
    pub who: Who,
    /// When it was opened.
    pub opened: Duration,
    /// The answers, in the order of time.
    pub answers: Vec<Answer>,
    /// When it ended: closed by its client, or lost for this reason.
    pub ended: Option<(Duration, Result<(), String>)>,
}

/// The answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the hello was sent.
    pub asked: Duration,
    /// When it was answered.
    pub at: Duration,
    /// By which version of the server.
    pub version: Version,
}

/// A kill of the proxy's process.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// The time.
    pub at: Duration,
    /// When the next one was ready.
    pub back: Option<Duration>,
}

/// The effect of the kills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Held connections that were open at a kill.
    pub held: usize,
    /// Those of them without an answer after it.
    pub cut: usize,
    /// Short clients that waited for an answer at a kill.
    pub short: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// The longest wait for an answer over a held connection, of those that a kill delayed.
    pub longest: Duration,
}

impl Held {
    fn is_open_at(&self, moment: Duration) -> bool {
        let ended = self.ended.as_ref();
        self.opened <= moment && ended.is_none_or(|ended| ended.0 > moment)
    }

    /// Whether it was lost, or not used since.
    fn is_cut(&self, last_kill: Duration) -> bool {
        let lost = matches!(self.ended, Some((_, Err(_))));
        lost || !self.answers.iter().any(|answer| answer.asked >= last_kill)
    }

    /// The waits for the answers that a kill delayed.
    fn waits(&self, kill: &Kill) -> impl Iterator<Item = Duration> {
        let (from, to) = (kill.at, kill.back.unwrap_or(Duration::MAX));
        let is_delayed = move |answer: &&Answer| answer.at >= from && answer.asked <= to;
        let answers = self.answers.iter().filter(is_delayed);
        answers.map(|answer| answer.at.saturating_sub(answer.asked))
    }
}

impl Record {
    /// The effect of all kills.
    pub fn aftermath(&self) -> Aftermath {
        let mut found = Aftermath::default();
        for held in &self.held {
            let met = self.kills.iter().filter(|kill| held.is_open_at(kill.at));
            if let Some(last) = met.map(|kill| kill.at).max() {
                found.held += 1;
                found.cut += usize::from(held.is_cut(last));
            }
            let waits = self.kills.iter().flat_map(|kill| held.waits(kill));
            found.longest = waits.chain([found.longest]).max().unwrap_or_default();
        }
        for visit in &self.visits {
            let is_met = |kill: &Kill| {
                let ended = visit.ended.as_ref();
                visit.arrived <= kill.at && ended.is_none_or(|ended| ended.0 > kill.at)
            };
            if self.kills.iter().any(is_met) {
                let failed = !matches!(visit.ended, Some((_, Outcome::Served(_))));
                found.short += 1;
                found.failed += usize::from(failed);
            }
        }
        found
    }

    /// The held connections that were lost at any time, with the time and the reason.
    pub fn losses(&self) -> impl Iterator<Item = (Duration, &str)> {
        self.held.iter().filter_map(|held| match &held.ended {
            Some((at, Err(reason))) => Some((*at, reason.as_str())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Visit;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Killed at 100 ms, back at 110 ms; asked at 50 and at 95 ms, and again after that.
    fn killed_once() -> Record {
        Record {
            length: ms(200),
            kills: vec![Kill {
                at: ms(100),
                back: Some(ms(110)),
            }],
            held: vec![Held {
                who: Who::Company,
                opened: ms(10),
                answers: [(50, 80), (95, 112), (113, 114), (120, 190)]
                    .map(|(asked, at)| Answer {
                        asked: ms(asked),
                        at: ms(at),
                        version: Version::One,
                    })
                    .to_vec(),
                ended: Some((ms(195), Ok(()))),
            }],
            ..Record::default()
        }
    }

    #[test]
    fn a_connection_with_an_answer_afterwards_was_not_cut() {
        let found = killed_once().aftermath();
        assert_eq!((found.held, found.cut), (1, 0));
        assert_eq!(found.longest, ms(17));
    }

    #[test]
    fn a_connection_that_is_lost_or_silent_afterwards_was_cut() {
        let mut record = killed_once();
        record.held[0].ended = Some((ms(195), Err("reset".to_owned())));
        assert_eq!(record.aftermath().cut, 1);
        assert_eq!(record.losses().count(), 1);
        let mut record = killed_once();
        record.held[0].answers.truncate(2);
        assert_eq!(record.aftermath().cut, 1);
    }

    #[test]
    fn a_connection_that_is_not_open_at_a_kill_does_not_count() {
        for (opened, ended) in [(10, 90), (101, 150)] {
            let mut record = killed_once();
            record.held[0].opened = ms(opened);
            record.held[0].ended = Some((ms(ended), Ok(())));
            assert_eq!(record.aftermath().held, 0);
        }
    }

    #[test]
    fn a_short_client_counts_if_it_waits_at_a_kill() {
        let mut record = killed_once();
        for (arrived, ended) in [(90, 99), (99, 111), (98, 101), (105, 111)] {
            let outcome = match ended {
                101 => Outcome::Failed("reset".to_owned()),
                _ => Outcome::Served(Version::One),
            };
            record.visits.push(Visit {
                arrived: ms(arrived),
                ended: Some((ms(ended), outcome)),
            });
        }
        let found = record.aftermath();
        assert_eq!((found.short, found.failed), (2, 1));
    }
}
