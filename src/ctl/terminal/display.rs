//! Numbers, times, bars and tables for people. Pure.

use std::time::Duration;

use crate::service::printable::printable;
use crate::service::timespan::TimeSpan;

/// A length of time: no finer than it matters, at most two units.
pub fn age(usec: u64) -> String {
    const SECOND: u64 = 1_000_000;
    let grain = match usec {
        0..SECOND => 1_000,
        SECOND..3_600_000_000 => SECOND,
        3_600_000_000..86_400_000_000 => 60 * SECOND,
        _ => 3_600 * SECOND,
    };
    match usec / grain * grain {
        0 => "0s".to_owned(),
        rounded => TimeSpan::Finite(Duration::from_micros(rounded)).to_string(),
    }
}

/// A count of bytes: `17 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let power = count.ilog2() / 10;
    let value = count as f64 / f64::from(power * 10).exp2();
    format!("{value:.1} {}", units[power as usize - 1])
}

/// A bar that is full when `done` has reached `total`.
pub fn bar(done: usize, total: usize, width: usize) -> String {
    let filled = (done.min(total) * width)
        .checked_div(total)
        .unwrap_or(width);
    format!("{}{}", "█".repeat(filled), "░".repeat(width - filled))
}

/// The first `width` characters, printable, so that a line stays one line on a terminal.
pub fn fit(line: &str, width: usize) -> String {
    printable(line).chars().take(width).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Lines of columns as wide as they need to be, below their headings.
pub fn table<const N: usize>(
    columns: [(&str, Align); N],
    rows: impl Iterator<Item = [String; N]>,
) -> Vec<String> {
    let headings = columns.map(|(heading, _)| heading.to_owned());
    // As they are printed, so that they are as wide as they look.
    let rows = rows.map(|row| row.map(|cell| printable(&cell).into_owned()));
    let all: Vec<[String; N]> = std::iter::once(headings).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = all.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells: [String; N] = std::array::from_fn(|column| {
            let (cell, width) = (&row[column], widths[column]);
            match columns[column].1 {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        });
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_as_fine_as_they_matter() {
        for (usec, text) in [
            (0, "0s"),
            (999, "0s"),
            (1_500, "1ms"),
            (1_500_000, "1s"),
            (90_900_000, "1min 30s"),
            (3_661_000_000, "1h 1min"),
            (90_061_000_000, "1d 1h"),
        ] {
            assert_eq!(age(usec), text);
        }
    }

    #[test]
    fn bytes_are_counted_in_powers_of_1024() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let columns = [
            ("ID", Align::Right),
            ("PEER", Align::Left),
            ("SENT", Align::Left),
        ];
        let row = |id: &str, peer: &str, sent: &str| [id, peer, sent].map(str::to_owned);
        let rows = [row("7", "[::1]:40000", "1 B"), row("1000", "\x1b[2J", "")];
        assert_eq!(
            table(columns, rows.into_iter()),
            [
                "  ID  PEER         SENT",
                "   7  [::1]:40000  1 B",
                r"1000  \u{1b}[2J",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_bar_always_has_the_given_width(done in 0usize..99, total in 0usize..99) {
            let bar = bar(done, total, 20);
            prop_assert_eq!(bar.chars().count(), 20);
            prop_assert_eq!(done >= total, !bar.contains('░'));
        }
    }
}
