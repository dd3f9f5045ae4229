//! The results as text: Markdown whose columns are aligned.

use std::fmt::Write as _;

use crate::figure::figure;
use crate::results::Results;
use crate::summary::{Figure, Line};

/// The table of the figures, and what has to be said.
pub fn draw(results: &Results, figures: &[Figure]) -> String {
    let head = ["", "load", "ours", "against", "", "ratio", "p", "goal", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(figures.iter().flat_map(lines));
    let mut text = markdown(&rows);
    let failures = results
        .failures
        .iter()
        .map(|it| format!("**Failed**: {it}"));
    let said: Vec<_> = results.remarks.iter().cloned().chain(failures).collect();
    if !said.is_empty() {
        text.push('\n');
    }
    for line in said {
        let _ = writeln!(text, "- {line}");
    }
    text
}

/// A line for each load of a figure. The one that counts has the goal, and its ratio is bold if there are others.
fn lines(figure: &Figure) -> Vec<Vec<String>> {
    let worst = figure.worst();
    let cells = |(at, line): (usize, &Line)| {
        let counts = worst == Some(at);
        let ratio = number(line.ratio, 2);
        let goal = figure.goal.filter(|_| counts);
        vec![
            if at == 0 {
                figure.name.clone()
            } else {
                String::new()
            },
            line.load(),
            number(Some(line.ours), figure.digits),
            line.other.map(|(who, _)| who.name()).unwrap_or_default(),
            number(line.other.map(|(_, value)| value), figure.digits),
            match counts && figure.lines.len() > 1 {
                true => format!("**{ratio}**"),
                false => ratio,
            },
            number(line.chance, 3),
            number(goal, 2),
            match (line.ratio, goal) {
                (Some(ratio), Some(goal)) if ratio >= goal => "reached".to_owned(),
                (Some(_), Some(_)) => "**missed**".to_owned(),
                _ => String::new(),
            },
        ]
    };
    figure.lines.iter().enumerate().map(cells).collect()
}

/// A table for each column, with everybody.
pub fn everybody(results: &Results) -> String {
    let columns = 0..results.columns.len();
    columns
        .map(|column| format!("\n{}", one(results, column)))
        .collect()
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
pub fn markdown(rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let right = |at: usize| {
        let mut cells = rows.iter().skip(1).map(|row| &row[at]);
        at > 0
            && cells.all(|cell| {
                !cell
                    .trim_start_matches('*')
                    .starts_with(char::is_alphabetic)
            })
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
