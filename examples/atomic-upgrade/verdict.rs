//! Judges a performance by its record: the table, whether the upgrade was atomic, and
//! whether the kills went unnoticed.

use std::time::Duration;

use crate::narrator::{Style, counted, grouped, spoken};
use crate::record::{Outcome, Record, Version, Who};
use crate::story::phase;

/// Who was served when, by which version, one line for each phase.
pub fn table(record: &Record) -> String {
    let heads = [
        ["", "", "", "", "served by", "", "", "most", "longest"],
        [
            "phase", "from", "lasted", "came", "v1", "v2", "failed", "waiting", "wait",
        ],
    ];
    let mut rows: Vec<_> = heads
        .into_iter()
        .map(|head| head.map(str::to_owned))
        .collect();
    for phase in record.phases() {
        let title = phase.title.to_owned();
        rows.push(row(record, title, phase.from, phase.to));
    }
    rows.push(row(
        record,
        "in all".to_owned(),
        Duration::ZERO,
        record.length,
    ));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if number == heads.len() || number + 1 == rows.len() {
            text += &format!(
                " {}\n",
                "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len() - 2)
            );
        }
        let mut line = format!(" {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

fn row(record: &Record, title: String, from: Duration, to: Duration) -> [String; 9] {
    // The end belongs to the last phase.
    let to = if to == record.length {
        Duration::MAX
    } else {
        to
    };
    let within = |moment: &Duration| (from..to).contains(moment);
    let came = record
        .visits
        .iter()
        .filter(|visit| within(&visit.arrived))
        .count();
    let by = |version| {
        record
            .served(from, to)
            .filter(|served| served.1 == version)
            .count()
    };
    let failed = record
        .failures()
        .filter(|failure| within(&failure.0))
        .count();
    let longest = record
        .served(from, to)
        .filter_map(|served| served.0.waited())
        .max();
    let arrivals = record
        .visits
        .iter()
        .map(|visit| visit.arrived)
        .filter(within);
    // The queue is longest just after somebody has come, or at the very beginning.
    let waiting = arrivals
        .map(|at| record.waiting_at(at) + 1)
        .chain([record.waiting_at(from)]);
    [
        title,
        format!("{:.2} s", from.as_secs_f64()),
        format!("{:.2} s", (to.min(record.length) - from).as_secs_f64()),
        grouped(came),
        grouped(by(Version::One)),
        grouped(by(Version::Two)),
        grouped(failed),
        grouped(waiting.max().unwrap_or(0)),
        longest.map_or("–".to_owned(), spoken),
    ]
}

/// Prints what the performance had to show, and whether it did. True if all of it is well.
pub fn announce(record: &Record) -> bool {
    let style = Style::of_stdout();
    let checks = checks(record);
    for (good, sentence) in &checks {
        match good {
            true => println!(" {} {sentence}", style.paint("32", "✓")),
            false => println!(" {} {}", style.paint("1;31", "✗"), style.bold(sentence)),
        }
    }
    let mut reasons: Vec<_> = record.failures().chain(record.losses()).collect();
    reasons.sort();
    for (at, reason) in reasons.into_iter().take(10) {
        println!("   at {:.3} s: {reason}", at.as_secs_f64());
    }
    let good = checks.iter().all(|check| check.0);
    match good {
        true => println!(
            "\n{}\n",
            style.bold("An atomic upgrade: every client was served, by one version or the other, and nobody noticed \
                 that the proxy was killed.")
        ),
        false => println!("\n{}\n", style.bold("This did not go unnoticed.")),
    }
    good
}

/// What has to hold, each with whether it did.
fn checks(record: &Record) -> Vec<(bool, String)> {
    let moment = |title| record.beginning(title).unwrap_or(Duration::MAX);
    let (locked, drained) = (moment(phase::DRAINING), moment(phase::LOCKED));
    let unlocked = moment(phase::AFTER);
    let failed = record.visits.len() - record.served(Duration::ZERO, Duration::MAX).count();
    let late = served_by(record, Version::One, unlocked, Duration::MAX);
    let early = served_by(record, Version::Two, Duration::ZERO, unlocked);
    let passed = record.served(drained, unlocked).count();
    let left = record
        .lane(Who::Guest)
        .and_then(|lane| lane.spans.last()?.1);
    let queued = record.visits.iter().filter(|visit| {
        let served = matches!(visit.ended, Some((at, Outcome::Served(_))) if at >= unlocked);
        visit.arrived >= locked && visit.arrived < unlocked && served
    });
    let queued = queued.count();
    let kernel = record
        .samples
        .iter()
        .map(|sample| sample.2)
        .max()
        .unwrap_or(0) as usize;
    vec![
        (
            failed == 0 && !record.visits.is_empty(),
            format!(
                "{} of {} failed",
                grouped(failed),
                counted(record.visits.len(), "client")
            ),
        ),
        match left.is_some_and(|left| locked < left && left <= drained) {
            true => (
                true,
                "the drain waited for the client that stayed".to_owned(),
            ),
            false => (
                false,
                "the drain did not wait for the client that stayed".to_owned(),
            ),
        },
        (
            queued > 0 && kernel > 0,
            format!(
                "{} came while the gate was closed and waited (the kernel's queue had up to {})",
                counted(queued, "client"),
                grouped(kernel),
            ),
        ),
        (
            passed == 0,
            match passed {
                0 => "nobody was served between the drain and the unlock".to_owned(),
                _ => format!(
                    "{} served between drain and unlock",
                    counted(passed, "client")
                ),
            },
        ),
        (
            late == 0 && early == 0,
            format!(
                "version 1 gave {} after the unlock, version 2 gave {} before it",
                counted(late, "answer"),
                counted(early, "answer"),
            ),
        ),
        kills(record),
    ]
}

/// Nobody may notice that the proxy is killed, and somebody has to be there who could.
fn kills(record: &Record) -> (bool, String) {
    let after = record.aftermath();
    let cut = after.cut + after.failed;
    let good = after.held > 0 && cut == 0 && record.kills.iter().all(|kill| kill.back.is_some());
    let met = counted(after.held + after.short, "connection");
    let times = counted(record.kills.len(), "time");
    let so_what = match cut {
        0 => format!(
            "none of {met} was cut, no answer took longer than {}",
            spoken(after.longest)
        ),
        _ => format!(
            "{} of {met} cut, {} of them long-lived",
            grouped(cut),
            grouped(after.cut)
        ),
    };
    (good, format!("the proxy was killed {times}: {so_what}"))
}

fn served_by(record: &Record, version: Version, from: Duration, to: Duration) -> usize {
    record
        .served(from, to)
        .filter(|served| served.1 == version)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    /// The sentences that do not hold after `change` to a good record.
    fn complaints(change: impl FnOnce(&mut Record)) -> Vec<String> {
        let mut record = example();
        change(&mut record);
        let bad = checks(&record).into_iter().filter(|check| !check.0);
        bad.map(|check| check.1).collect()
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_good_record_gives_no_reason_to_complain() {
        assert_eq!(complaints(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_single_failure_is_one_too_many() {
        let refused = Outcome::Failed("refused".to_owned());
        let found = complaints(|record| record.visits[99].ended = Some((ms(995), refused)));
        assert_eq!(found, ["1 of 100 clients failed"]);
        let found = complaints(|record| record.visits[99].ended = None);
        assert_eq!(found, ["1 of 100 clients failed"]);
        assert!(!complaints(|record| record.visits.clear()).is_empty());
    }

    #[test]
    fn version_1_may_not_answer_after_the_unlock() {
        let late = Outcome::Served(Version::One);
        let found = complaints(|record| record.visits[70].ended = Some((ms(701), late)));
        assert!(
            found.len() == 1 && found[0].contains("1 answer after"),
            "{found:?}"
        );
    }

    #[test]
    fn nobody_may_be_served_while_the_gate_is_locked() {
        let early = Outcome::Served(Version::One);
        let found = complaints(|record| record.visits[40].ended = Some((ms(450), early)));
        assert!(
            found.len() == 1 && found[0].starts_with("1 client served"),
            "{found:?}"
        );
    }

    #[test]
    fn the_drain_may_not_end_before_the_client_that_stays_has_left() {
        for left in [Some(ms(401)), Some(ms(100)), None] {
            let found = complaints(|record| record.lanes[0].spans[0].1 = left);
            assert!(
                found.len() == 1 && found[0].contains("drain"),
                "{left:?}: {found:?}"
            );
        }
    }

    #[test]
    fn an_upgrade_for_which_nobody_has_to_wait_shows_nothing() {
        let found = complaints(|record| record.samples.clear());
        assert!(found.len() == 1 && found[0].contains("waited"), "{found:?}");
    }

    #[test]
    fn a_connection_that_is_cut_by_a_kill_is_one_too_many() {
        let reset = || Err("reset".to_owned());
        let found = complaints(|record| record.held[1].ended = Some((ms(146), reset())));
        assert!(
            found.len() == 1 && found[0].contains("1 of 2 "),
            "{found:?}"
        );
        let found = complaints(|record| record.held[1].answers.clear());
        assert!(
            found.len() == 1 && found[0].contains("1 of 2 "),
            "{found:?}"
        );
    }

    #[test]
    fn a_kill_that_nobody_could_notice_shows_nothing() {
        assert_eq!(complaints(|record| record.held.clear()).len(), 1);
        assert_eq!(complaints(|record| record.kills.clear()).len(), 1);
        assert_eq!(complaints(|record| record.kills[0].back = None).len(), 1);
    }

    #[test]
    fn the_table_has_a_line_for_each_phase_and_the_sum() {
        let table = table(&example());
        let last = table.lines().last().unwrap();
        assert_eq!(table.lines().count(), 2 + 4 + 1 + 2, "{table}");
        assert!(
            last.contains("100") && last.contains("20") && last.contains("80"),
            "{table}"
        );
    }
}
