//! Records for tests, and the tests of records.

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

/// The longest story, with the most clients: one each millisecond, for a minute. Nobody is served before the end.
pub fn widest() -> Record {
    let ms = Duration::from_millis;
    let length = 60_000;
    let visit = |number: u64| {
        let version = match number % 2 {
            0 => Version::One,
            _ => Version::Two,
        };
        Visit {
            arrived: ms(number),
            ended: Some((ms(length), Outcome::Served(version))),
        }
    };
    let titles = [phase::BEFORE, phase::KILLED, phase::DRAINING, phase::LOCKED];
    let titles = titles.into_iter().chain([phase::AFTER, phase::QUIET]);
    let beginning = |(number, title): (u64, _)| (ms(9_990 * number), GateState::Open, title);
    Record {
        length: ms(length),
        visits: (0..length).map(visit).collect(),
        samples: vec![(ms(0), 60_000, 60_000)],
        beginnings: (0..).zip(titles).map(beginning).collect(),
        ..example()
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
