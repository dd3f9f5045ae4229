//! The results as text: Markdown whose columns are aligned.

use std::fmt::Write as _;

use crate::candidates::Candidate;
use crate::figure::figure;
use crate::results::Results;

/// The table of the goals, one table for each column, and what has to be said.
pub fn draw(results: &Results) -> String {
    let mut text = goals(results);
    for column in 0..results.columns.len() {
        let _ = write!(text, "\n{}", one(results, column));
    }
    for (title, list) in [("Remarks", &results.remarks), ("Failed", &results.failures)] {
        if !list.is_empty() {
            let _ = writeln!(text, "\n**{title}**\n");
        }
        for line in list {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// What we want to reach, and what was reached: our proxy against the best peer, and one of ours
/// against another one or no proxy at all.
fn goals(results: &Results) -> String {
    let head = ["", "ours", "against", "", "ratio", "p", "goal", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (place, column) in results.columns.iter().enumerate() {
        for (at, metric) in column.metrics.iter().enumerate() {
            let best = results.best_peer(place, at);
            let ours = column.ours();
            rows.extend(goal(results, (place, at), ours, best, metric.goal));
        }
    }
    for (place, column) in results.columns.iter().enumerate() {
        for (at, metric) in column.metrics.iter().enumerate() {
            let Some((who, against, wanted)) = metric.own else {
                continue;
            };
            let value = results.median_of(place, against, at);
            let against = value.map(|value| (against, value));
            rows.extend(goal(results, (place, at), who, against, Some(wanted)));
        }
    }
    markdown(&rows)
}

/// One line of it, if there is a goal and we take part.
fn goal(
    results: &Results,
    (place, at): (usize, usize),
    ours: Candidate,
    other: Option<(Candidate, f64)>,
    goal: Option<f64>,
) -> Option<Vec<String>> {
    let goal = goal?;
    let value = results.median_of(place, ours, at)?;
    let column = &results.columns[place];
    let metric = &column.metrics[at];
    let paired = other.filter(|_| ours == column.ours());
    let paired = paired.and_then(|(who, _)| results.comparison(place, who, at));
    let ratio = match paired {
        Some(paired) => Some(paired.ratio),
        None => other.map(|(_, other)| metric.ratio(value, other)),
    };
    let which = match ours {
        Candidate::Handover => "Handover. ",
        Candidate::Detaching => "Detached. ",
        _ => "",
    };
    Some(vec![
        format!("{which}{}: {}", column.title(), metric.name),
        number(Some(value), metric.digits),
        other.map(|(who, _)| who.name()).unwrap_or_default(),
        number(other.map(|(_, value)| value), metric.digits),
        number(ratio, 2),
        number(paired.and_then(|it| it.chance), 3),
        format!("{goal:.2}"),
        match ratio {
            Some(ratio) if ratio >= goal => "reached".to_owned(),
            Some(_) => "**missed**".to_owned(),
            None => "not measured".to_owned(),
        },
    ])
}

/// Everybody's figures of one column.
fn one(results: &Results, place: usize) -> String {
    let column = &results.columns[place];
    let mut head = vec![String::new()];
    for metric in column.metrics {
        head.extend([metric.name.to_owned(), "ratio".to_owned()]);
    }
    head.push("spread".to_owned());
    let mut rows = vec![head];
    for (who, candidate) in results.candidates.iter().enumerate() {
        let mut row = vec![candidate.name()];
        for (at, metric) in column.metrics.iter().enumerate() {
            row.push(number(results.median(place, who, at), metric.digits));
            row.push(number(results.ratio(place, who, at), 2));
        }
        let spread = results.spread(place, who, 0);
        row.push(spread.map_or_else(String::new, |it| format!("± {:.0} %", it * 100.0)));
        if row.iter().skip(1).any(|cell| !cell.is_empty()) {
            rows.push(row);
        }
    }
    let table = match rows.len() {
        1 => "Not measured.\n".to_owned(),
        _ => markdown(&rows),
    };
    format!("### {}\n\n{table}", column.title())
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| figure(value, digits))
}

/// The first row is the head; the first column is text, of the others what looks like a number is
/// put to the right.
fn markdown(rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let right = |at: usize| {
        let mut cells = rows.iter().skip(1).map(|row| &row[at]);
        at > 0
            && cells
                .all(|cell| !cell.starts_with(|first: char| first.is_alphabetic() || first == '*'))
    };
    let mut text = String::new();
    for (line, row) in rows.iter().enumerate() {
        for (at, cell) in row.iter().enumerate() {
            let width = width(at);
            let _ = match right(at) {
                true => write!(text, "| {cell:>width$} "),
                false => write!(text, "| {cell:width$} "),
            };
        }
        text.push_str("|\n");
        if line == 0 {
            for at in 0..row.len() {
                let dashes = "-".repeat(width(at) + 1);
                let _ = match right(at) {
                    true => write!(text, "|{dashes}:"),
                    false => write!(text, "|:{dashes}"),
                };
            }
            text.push_str("|\n");
        }
    }
    text
}
