//! Judges a performance by its record: the table, whether the upgrade was atomic, and whether a
//! connection was cut by the kills.

use std::time::Duration;

use crate::narrator::{Style, WIDTH, counted, grouped, spoken, wrapped};
use crate::record::{Held, Outcome, Record, Version, Visit, Who};
use crate::story::phase;

/// A line for each phase, and the sum: the clients served, by version, and their waits.
pub fn table(record: &Record) -> String {
    let mut rows = vec![
        ["", "", "", "", "served", "served", "", "most", "longest"].map(str::to_owned),
        [
            "phase", "from", "lasted", "came", "by v1", "by v2", "failed", "waiting", "wait",
        ]
        .map(str::to_owned),
    ];
    for phase in record.phases() {
        rows.push(row(record, phase.title, phase.from, phase.to));
    }
    rows.push(row(record, "in all", Duration::ZERO, record.length));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..9).filter_map(width).collect();
    let ruler = "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len() - 2);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if number == 2 || number + 1 == rows.len() {
            text += &format!(" {ruler}\n");
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

fn row(record: &Record, title: &str, from: Duration, to: Duration) -> [String; 9] {
    let lasted = to - from;
    // The end belongs to the last phase.
    let to = if to == record.length {
        Duration::MAX
    } else {
        to
    };
    let within = |moment: &Duration| (from..to).contains(moment);
    let arrivals = record.visits.iter().map(|visit| visit.arrived);
    let failed = record.failures().filter(|failure| within(&failure.0));
    let waits = record
        .served(from, to)
        .filter_map(|(visit, _)| visit.waited());
    let by = |version| grouped(served_by(record, version, from, to));
    [
        title.to_owned(),
        format!("{:.2} s", from.as_secs_f64()),
        format!("{:.2} s", lasted.as_secs_f64()),
        grouped(arrivals.filter(within).count()),
        by(Version::One),
        by(Version::Two),
        grouped(failed.count()),
        grouped(record.most_waiting(from, to)),
        waits.max().map_or("–".to_owned(), spoken),
    ]
}

/// Prints the checks, the reasons of failures and the verdict. Returns whether all is well.
pub fn announce(record: &Record) -> bool {
    let (good, text) = announcement(record, Style::of_stdout());
    println!("{text}");
    good
}

fn announcement(record: &Record, style: Style) -> (bool, String) {
    let checks = checks(record);
    let mut text = String::new();
    for (good, sentence) in &checks {
        let mut mark = match good {
            true => style.paint("32", "✓"),
            false => style.paint("1;31", "✗"),
        };
        for line in wrapped(sentence, WIDTH - 3) {
            let line = if *good { line } else { style.bold(&line) };
            text += &format!(" {mark} {line}\n");
            mark = " ".to_owned();
        }
    }
    let mut reasons: Vec<_> = record.failures().chain(record.losses()).collect();
    reasons.sort();
    for (at, reason) in reasons.into_iter().take(10) {
        let reason = format!("at {:.3} s: {reason}", at.as_secs_f64());
        for line in wrapped(&reason, WIDTH - 3) {
            text += &format!("   {line}\n");
        }
    }
    let good = checks.iter().all(|check| check.0);
    let verdict = match good {
        true => {
            "An atomic upgrade: every client was served, by one version or the other, the client that \
             stayed by both, and nobody noticed that the proxy was killed."
        }
        false => "This did not go unnoticed.",
    };
    let verdict = wrapped(verdict, WIDTH).join("\n");
    text += &format!("\n{}\n", style.bold(&verdict));
    (good, text)
}

/// The requirements, each with whether it holds.
fn checks(record: &Record) -> Vec<(bool, String)> {
    let moment = |title| record.beginning(title).unwrap_or(Duration::MAX);
    let (locked, drained) = (moment(phase::DRAINING), moment(phase::LOCKED));
    let unlocked = moment(phase::AFTER);
    let failed = record.visits.len() - record.served(Duration::ZERO, Duration::MAX).count();
    let late = served_by(record, Version::One, unlocked, Duration::MAX);
    let early = served_by(record, Version::Two, Duration::ZERO, unlocked);
    let passed = record.served(drained, unlocked).count();
    let first = record.lanes.get(&Who::First);
    let left = first.and_then(|lane| lane.spans.last()?.1);
    let waited = left.is_some_and(|left| locked < left && left <= drained);
    let was_queued = |visit: &&Visit| {
        let served = matches!(visit.ended, Some((at, Outcome::Served(_))) if at >= unlocked);
        (locked..unlocked).contains(&visit.arrived) && served
    };
    let queued = record.visits.iter().filter(was_queued).count();
    let kernel = record.samples.iter().map(|sample| sample.2).max();
    let kernel = kernel.unwrap_or(0) as usize;
    vec![
        (
            failed == 0 && !record.visits.is_empty(),
            format!(
                "{} of {} failed",
                grouped(failed),
                counted(record.visits.len(), "client")
            ),
        ),
        (
            waited,
            format!(
                "the drain {} for the first client",
                if waited { "waited" } else { "did not wait" }
            ),
        ),
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
        stays(record, locked, unlocked),
        kills(record),
    ]
}

/// The client that stays: version 1 answers it before the upgrade and version 2 after it, over one connection.
fn stays(record: &Record, locked: Duration, unlocked: Duration) -> (bool, String) {
    let is_there = |held: &&Held| held.who == Who::Stays;
    let held: Vec<&Held> = record.held.iter().filter(is_there).collect();
    let count = |wanted: Version, (from, to): (Duration, Duration)| {
        let answers = held.iter().flat_map(|held| &held.answers);
        let is_one = answers.filter(|one| one.version == wanted && (from..to).contains(&one.at));
        is_one.count()
    };
    let before = count(Version::One, (Duration::ZERO, locked));
    let after = count(Version::Two, (unlocked, Duration::MAX));
    let all: usize = held.iter().map(|held| held.answers.len()).sum();
    let has_stayed = |held: &Held| matches!(held.ended, Some((at, Ok(()))) if at >= unlocked);
    let good = held.len() == 1 && has_stayed(held[0]) && before > 0 && after > 0;
    let over = counted(held.len(), "connection");
    let mut result = format!(
        "the client that stayed: {} by version 1 before the lock, {} by version 2 after the unlock, \
         over {over}",
        counted(before, "answer"),
        grouped(after)
    );
    if before + after < all {
        result += &format!(", {} wrong", grouped(all - before - after));
    }
    if !held.iter().all(|held| has_stayed(held)) {
        result += ", lost";
    }
    (good && before + after == all, result)
}

/// No connection may be cut by a kill, and some have to be open.
fn kills(record: &Record) -> (bool, String) {
    let after = record.aftermath();
    let cut = after.cut + after.failed;
    let good = after.held > 0 && cut == 0 && record.kills.iter().all(|kill| kill.back.is_some());
    let met = counted(after.held + after.short, "connection");
    let times = counted(record.kills.len(), "time");
    let result = match cut {
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
    (good, format!("the proxy was killed {times}: {result}"))
}

fn served_by(record: &Record, version: Version, from: Duration, to: Duration) -> usize {
    let served = record.served(from, to);
    served.filter(|served| served.1 == version).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Answer;
    use crate::record::tests::{example, widest};

    /// The failed checks of a good record after `change`.
    fn complaints(change: impl FnOnce(&mut Record)) -> Vec<String> {
        let mut record = example();
        change(&mut record);
        let bad = checks(&record).into_iter().filter(|check| !check.0);
        bad.map(|check| check.1).collect()
    }

    fn assert_only(found: &[String], part: &str) {
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_good_record_passes_every_check() {
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
        assert_only(&found, "1 answer after");
    }

    #[test]
    fn no_client_may_be_served_while_the_gate_is_locked() {
        let early = Outcome::Served(Version::One);
        let found = complaints(|record| record.visits[40].ended = Some((ms(450), early)));
        assert!(
            found.len() == 1 && found[0].starts_with("1 client served"),
            "{found:?}"
        );
    }

    #[test]
    fn the_drain_may_not_end_before_the_first_client_has_left() {
        for left in [Some(ms(401)), Some(ms(100)), None] {
            let found = complaints(|record| record.lane(Who::First).spans[0].1 = left);
            assert_only(&found, "drain");
        }
    }

    #[test]
    fn the_client_that_stays_is_answered_by_both_versions_over_one_connection() {
        let found = complaints(|record| record.held[2].ended = Some((ms(500), Err(String::new()))));
        assert_only(&found, "over 1 connection, lost");
        let found = complaints(|record| record.held[2].ended = Some((ms(599), Ok(()))));
        assert_only(&found, "lost");
        let found = complaints(|record| record.held[2].answers.truncate(1));
        assert_only(
            &found,
            "1 answer by version 1 before the lock, 0 by version 2",
        );
        let found =
            complaints(|record| record.held[2].answers = record.held[2].answers.split_off(1));
        assert_only(&found, "0 answers by version 1");
        let found = complaints(|record| {
            let again = record.held[2].answers[0];
            record.held[2].answers.push(Answer {
                at: ms(700),
                ..again
            });
        });
        assert_only(&found, "1 wrong");
        let found = complaints(|record| record.held.push(record.held[2].clone()));
        assert_only(&found, "over 2 connections");
        let found = complaints(|record| record.held.truncate(2));
        assert_only(&found, "over 0 connections");
    }

    #[test]
    fn an_upgrade_for_which_no_client_waits_shows_nothing() {
        let found = complaints(|record| record.samples.clear());
        assert_only(&found, "waited");
    }

    #[test]
    fn a_connection_that_is_cut_by_a_kill_is_one_too_many() {
        let reset = || Err("reset".to_owned());
        let found = complaints(|record| record.held[1].ended = Some((ms(146), reset())));
        assert_only(&found, "1 of 2 ");
        let found = complaints(|record| record.held[1].answers.clear());
        assert_only(&found, "1 of 2 ");
    }

    #[test]
    fn a_kill_without_open_connections_shows_nothing() {
        assert_eq!(complaints(|record| record.held.truncate(0)).len(), 2);
        assert_eq!(complaints(|record| drop(record.held.drain(..2))).len(), 1);
        assert_eq!(complaints(|record| record.kills.clear()).len(), 1);
        assert_eq!(complaints(|record| record.kills[0].back = None).len(), 1);
    }

    #[test]
    fn table_and_verdict_fit_80_columns_at_their_widest() {
        let style = Style { colour: false };
        let mut failing = widest();
        for visit in failing.visits.iter_mut().step_by(2) {
            visit.ended = Some((ms(59_999), Outcome::Failed("lost again ".repeat(20))));
        }
        for record in [example(), widest(), failing] {
            let text = table(&record) + &announcement(&record, style).1;
            let widest = text
                .lines()
                .max_by_key(|line| line.chars().count())
                .unwrap();
            assert!(widest.chars().count() <= WIDTH, "{widest}");
        }
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
