//! Draws a record over time, for a terminal and as a picture. Both have the same rows:
//!
//! 1. the phases, whose borders run through all rows below;
//! 2. *waiting*: clients that wait for an answer;
//! 3. *so far*: all clients that have arrived, in layers by their outcome;
//! 4. *open*: connections through the proxy;
//! 5. *failed*;
//! 6. when each program ran and each client was connected, and which version answered a hello. A line through
//!    all rows is a kill of the proxy.

use std::time::Duration;

use crate::narrator::{counted, grouped, spoken};
use crate::record::{Column, Record, Version, Who};

mod blocks;
pub mod svg;
pub mod terminal;

/// What has a colour of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Version 1 of the server, and the clients that it served.
    One,
    /// Version 2.
    Two,
    /// Waiting clients.
    Waiting,
    /// Failed clients.
    Failed,
    /// The clients that hold a connection.
    Guest,
    /// The proxy, and its open connections.
    Proxy,
}

impl From<Who> for Ink {
    fn from(who: Who) -> Self {
        match who {
            Who::First | Who::Company | Who::Stays => Self::Guest,
            Who::Proxy | Who::SecondProxy => Self::Proxy,
            Who::Server(Version::One) => Self::One,
            Who::Server(Version::Two) => Self::Two,
        }
    }
}

/// The layers of *so far* at a column, from the bottom: ink and upper edge.
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

/// The columns and their maxima; `failed` is the sum.
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

/// The result in a sentence or two.
fn summary(record: &Record) -> String {
    let none_or = |number| match number {
        0 => "none".to_owned(),
        some => grouped(some),
    };
    let came = counted(record.visits.len(), "client");
    let failed = none_or(record.failures().count());
    let longest = spoken(record.longest_wait());
    let text = format!("{came}: {failed} failed, and none waited longer than {longest}.");
    if record.kills.is_empty() {
        return text;
    }
    let after = record.aftermath();
    let times = counted(record.kills.len(), "time");
    let cut = none_or(after.cut);
    let held = counted(after.held, "open connection");
    format!("{text} The proxy was killed {times}: {cut} of {held} cut.")
}

/// The moments for the time axis: round ones, at most `at_most`.
fn ticks(length: Duration, at_most: usize) -> Vec<Duration> {
    let steps = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];
    let fits = |step: &u64| length.as_millis() / u128::from(*step) < at_most as u128;
    let step = Duration::from_millis(steps.into_iter().find(fits).unwrap_or(600_000));
    let moments = (0..).map(|number| step * number);
    moments.take_while(|tick| *tick <= length).collect()
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
    fn the_layers_add_up_to_all_clients_that_have_arrived() {
        for column in example().columns(50) {
            let layers = layers(&column);
            assert!(
                layers.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                "{layers:?}"
            );
            assert_eq!(layers[3].1, column.arrived);
            assert_eq!(layers[2].1, layers[1].1, "none failed");
        }
    }

    #[test]
    fn the_summary_counts_failed_clients() {
        assert!(summary(&example()).starts_with("100 clients: none failed"));
        assert!(summary(&example()).ends_with("1 time: none of 2 open connections cut."));
    }
}
