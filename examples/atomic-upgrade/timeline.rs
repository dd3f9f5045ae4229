//! Draws a record over time, for a terminal and as a picture. Both show the same rows:
//!
//! 1. the phases, whose borders run through all that follows;
//! 2. *waiting*: clients that have come and have no answer yet;
//! 3. *so far*: what became of all that have come, one layer on the other;
//! 4. *open*: connections through the proxy;
//! 5. *failed*;
//! 6. who ran, or was connected, when. A line through all rows is a kill of the proxy.

use std::time::Duration;

use crate::narrator::{counted, grouped, spoken};
use crate::record::{Column, Record, Version, Who};

mod blocks;
mod shapes;
mod style;
pub mod svg;
pub mod terminal;

/// What is drawn in one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Version 1 of the server, and whom it served.
    One,
    /// Version 2.
    Two,
    /// Who waits.
    Waiting,
    /// Who failed.
    Failed,
    /// The client that stays, and those that keep talking.
    Guest,
    /// The proxy, and what is open in it.
    Proxy,
}

/// The colour of a lane.
fn lane_ink(who: Who) -> Ink {
    match who {
        Who::Guest | Who::Company => Ink::Guest,
        Who::Proxy => Ink::Proxy,
        Who::Server(Version::One) => Ink::One,
        Who::Server(Version::Two) => Ink::Two,
    }
}

/// The layers of *so far* at one column, from the bottom: ink and upper edge.
fn layers(column: &Column) -> [(Ink, u32); 4] {
    let one = column.served[0];
    let two = one + column.served[1];
    [
        (Ink::One, one),
        (Ink::Two, two),
        (Ink::Failed, two + column.failed_so_far),
        (Ink::Waiting, column.arrived),
    ]
}

/// The columns and what they reach at most.
struct Series {
    columns: Vec<Column>,
    waiting: u32,
    open: u32,
    arrived: u32,
    failed: u32,
}

impl Series {
    fn of(record: &Record, count: usize) -> Self {
        let columns = record.columns(count);
        let most = |value: fn(&Column) -> u32| columns.iter().map(value).max().unwrap_or(0);
        Self {
            waiting: most(|column| column.waiting),
            open: most(|column| column.open),
            arrived: most(|column| column.arrived),
            failed: columns.iter().map(|column| column.failed).sum(),
            columns,
        }
    }
}

/// The whole in a sentence or two.
fn summary(record: &Record) -> String {
    let came = counted(record.visits.len(), "client");
    let longest = record
        .visits
        .iter()
        .filter_map(|visit| visit.waited())
        .max();
    let longest = spoken(longest.unwrap_or_default());
    let failed = match record.failures().count() {
        0 => "none failed".to_owned(),
        some => format!("{} failed", grouped(some)),
    };
    let mut text = format!("{came}: {failed}, and none waited longer than {longest}.");
    let after = record.aftermath();
    if !record.kills.is_empty() {
        text += &format!(
            " The proxy was killed {}: {} of {} cut.",
            counted(record.kills.len(), "time"),
            match after.cut {
                0 => "none".to_owned(),
                some => grouped(some),
            },
            counted(after.held, "open connection"),
        );
    }
    text
}

/// The moments for the time axis: a round number of them that does not crowd it.
fn ticks(length: Duration, at_most: usize) -> Vec<Duration> {
    let steps = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];
    let step = steps
        .into_iter()
        .find(|step| length.as_millis() / step < at_most as u128);
    let step = Duration::from_millis(step.unwrap_or(600_000) as u64);
    (0..)
        .map(|number| step * number)
        .take_while(|tick| *tick <= length)
        .collect()
}

/// A moment as a part of the whole, from 0 to 1.
fn part(moment: Duration, length: Duration) -> f64 {
    match length.is_zero() {
        true => 0.0,
        false => (moment.as_secs_f64() / length.as_secs_f64()).min(1.0),
    }
}

/// A time on the axis: `2 s`, `0.5 s`.
fn tick_label(tick: Duration) -> String {
    format!("{} s", tick.as_millis() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    #[test]
    fn ticks_are_round_and_few() {
        for ms in [1, 99, 1_000, 6_900, 60_000, 3_600_000] {
            let ticks = ticks(Duration::from_millis(ms), 10);
            assert!((1..=10).contains(&ticks.len()), "{ms} ms: {ticks:?}");
        }
        assert_eq!(tick_label(ticks(Duration::from_secs(7), 10)[3]), "3 s");
        assert_eq!(tick_label(ticks(Duration::from_secs(2), 10)[1]), "0.5 s");
    }

    #[test]
    fn the_layers_lie_on_each_other_up_to_all_who_have_come() {
        for column in example().columns(50) {
            let layers = layers(&column);
            assert!(
                layers.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                "{layers:?}"
            );
            assert_eq!(layers[3].1, column.arrived);
            assert_eq!(layers[2].1, layers[1].1, "nobody failed");
        }
    }

    #[test]
    fn the_summary_counts_who_failed() {
        assert!(summary(&example()).starts_with("100 clients: none failed"));
        assert!(summary(&example()).ends_with("1 time: none of 2 open connections cut."));
    }
}
