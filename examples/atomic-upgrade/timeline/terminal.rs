//! The drawing for a terminal: block characters, colours when there are any.

use std::io;
use std::iter::repeat_n;
use std::time::Duration;

use super::blocks::{Cell, cell, colour, foreground};
use super::{Ink, Series, layers, part, tick_label, ticks};
use crate::narrator::{Style, grouped, spoken};
use crate::record::{Column, Lane, Record, Who};

/// Space for the names of the rows.
const LABEL: usize = 18;
/// Space for figures at the end of the rows.
const FIGURE: usize = 6;
/// Lines of *waiting* and of *so far*.
const WAITING_LINES: usize = 4;
const SO_FAR_LINES: usize = 7;

/// What the drawing has to fit.
pub struct Screen {
    /// Characters in a line.
    pub width: usize,
    /// Whether there are colours.
    pub style: Style,
}

impl Screen {
    /// That of standard output; 80 characters where it is no terminal.
    pub fn of_stdout() -> Self {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let width = size.map_or(80, |size| usize::from(size.ws_col));
        Self {
            width: width.clamp(50, 120),
            style: Style::of_stdout(),
        }
    }
}

/// The drawing, ready to be printed.
pub fn draw(record: &Record, screen: &Screen) -> String {
    let width = screen.width.saturating_sub(LABEL + FIGURE + 1).max(10);
    let series = Series::of(record, width);
    let place =
        |moment: Duration| ((part(moment, record.length) * width as f64) as usize).min(width - 1);
    let borders: Vec<usize> = record
        .phases()
        .iter()
        .skip(1)
        .map(|phase| place(phase.from))
        .collect();
    let mut lines = Lines {
        style: screen.style,
        borders,
        text: String::new(),
    };

    let (mut titles, mut lengths) = (vec![' '; width], vec![' '; width]);
    for phase in record.phases() {
        let (from, to) = (place(phase.from), place(phase.to));
        write_centred(&mut titles, from, to, phase.title);
        write_centred(&mut lengths, from, to, &spoken(phase.to - phase.from));
    }
    lines.heading(&titles);
    lines.heading(&lengths);

    let columns = series.columns.iter();
    for line in (0..WAITING_LINES).rev() {
        let edges = Edges::of_line(line, WAITING_LINES, "waiting", series.waiting);
        let draw = |column: &Column| {
            let layers = [(Ink::Waiting, column.waiting)];
            cell(&layers, series.waiting, line, WAITING_LINES, true)
        };
        lines.add(edges, columns.clone().map(draw));
    }
    lines.add(Edges::default(), repeat_n(Cell::BLANK, width));
    for line in (0..SO_FAR_LINES).rev() {
        let edges = Edges::of_line(line, SO_FAR_LINES, "so far", series.arrived);
        let draw = |column: &Column| {
            let layers = layers(column);
            cell(
                &layers,
                series.arrived,
                line,
                SO_FAR_LINES,
                screen.style.colour,
            )
        };
        lines.add(with_legend(edges, line), columns.clone().map(draw));
    }
    lines.add(Edges::default(), repeat_n(Cell::BLANK, width));
    let open = |column: &Column| cell(&[(Ink::Proxy, column.open)], series.open, 0, 1, true);
    lines.add(Edges::new("open", series.open), columns.clone().map(open));
    let failed = |column: &Column| match column.failed {
        0 => Cell {
            character: '·',
            ..Cell::BLANK
        },
        _ => Cell::new('✗', Ink::Failed),
    };
    lines.add(Edges::new("failed", series.failed), columns.map(failed));
    for lane in &record.lanes {
        let mut cells = lane_cells(lane, record.length, width, place);
        if lane.who == Who::Proxy {
            for kill in &record.kills {
                cells[place(kill.at)] = Cell::new('†', Ink::Failed);
            }
        }
        let edges = Edges {
            label: lane.who.title(),
            ..Edges::default()
        };
        lines.add(edges, cells.into_iter());
    }
    let mut axis = vec![' '; width + FIGURE];
    for tick in ticks(record.length, width / 7) {
        let label = tick_label(tick);
        let from = (part(tick, record.length) * width as f64) as usize;
        for (offset, character) in label.chars().enumerate().take(axis.len() - from) {
            axis[from + offset] = character;
        }
    }
    lines.heading(&axis);
    lines.text
}

/// The lines drawn so far.
struct Lines {
    style: Style,
    borders: Vec<usize>,
    text: String,
}

impl Lines {
    fn heading(&mut self, characters: &[char]) {
        let text: String = characters.iter().collect();
        self.text += format!(" {:LABEL$}{text}", "").trim_end();
        self.text += "
";
    }

    /// A line with the borders of the phases where nothing else is.
    fn add(&mut self, edges: Edges, cells: impl Iterator<Item = Cell>) {
        let Edges {
            sample,
            label,
            figure,
        } = edges;
        let mut line = match sample {
            None => format!(" {label:LABEL$}"),
            Some((ink, plain)) => {
                let sample = if self.style.colour { '█' } else { plain };
                let sample = self.style.paint(&foreground(ink), &sample.to_string());
                format!("  {sample} {label:width$}", width = LABEL - 3)
            }
        };
        let cells = cells.enumerate().map(|(place, cell)| match cell {
            Cell::BLANK if self.borders.contains(&place) => Cell {
                character: '┊',
                ..cell
            },
            cell => cell,
        });
        let cells: Vec<Cell> = cells.collect();
        for run in cells.chunk_by(|a, b| (a.ink, a.paper) == (b.ink, b.paper)) {
            let text: String = run.iter().map(|cell| cell.character).collect();
            let parameters = match (run[0].ink, run[0].paper) {
                (None, _) if text.trim().is_empty() => None,
                (None, _) => Some("2".to_owned()),
                (Some(ink), None) => Some(foreground(ink)),
                (Some(ink), Some(paper)) => {
                    Some(format!("{};48;5;{}", foreground(ink), colour(paper)))
                }
            };
            line += &parameters.map_or(text.clone(), |parameters| {
                self.style.paint(&parameters, &text)
            });
        }
        self.text += format!("{line} {figure}").trim_end();
        self.text += "\n";
    }
}

/// What stands before and behind a row.
#[derive(Default)]
struct Edges {
    /// A sample of this colour, or this character where there are no colours.
    sample: Option<(Ink, char)>,
    label: &'static str,
    figure: String,
}

impl Edges {
    fn new(label: &'static str, figure: u32) -> Self {
        Self {
            sample: None,
            label,
            figure: grouped(figure as usize),
        }
    }

    /// For one line of a row of several: the name and the highest figure at the first one, 0 at the
    /// last one.
    fn of_line(line: usize, lines: usize, label: &'static str, most: u32) -> Self {
        match line {
            0 => Self::new("", 0),
            _ if line + 1 == lines => Self::new(label, most),
            _ => Self::default(),
        }
    }
}

/// *So far* has a legend beside it.
fn with_legend(edges: Edges, line: usize) -> Edges {
    let (sample, label) = match line {
        5 => ((Ink::Waiting, '░'), "waiting"),
        4 => ((Ink::Two, '▓'), "by version 2"),
        3 => ((Ink::One, '█'), "by version 1"),
        _ => return edges,
    };
    Edges {
        sample: Some(sample),
        label,
        ..edges
    }
}

fn lane_cells(
    lane: &Lane,
    length: Duration,
    width: usize,
    place: impl Fn(Duration) -> usize,
) -> Vec<Cell> {
    let ink = super::lane_ink(lane.who);
    let mut cells = vec![Cell::BLANK; width];
    for &(from, to) in &lane.spans {
        let (from, to) = (place(from), place(to.unwrap_or(length)));
        cells[from..=to].fill(Cell::new('━', ink));
    }
    for mark in &lane.marks {
        cells[place(*mark)] = Cell::new('●', ink);
    }
    cells
}

/// Writes a text into the middle of `from..to`; as much of it as fits.
fn write_centred(line: &mut [char], from: usize, to: usize, text: &str) {
    let room = to.saturating_sub(from);
    let length = text.chars().count();
    let text: String = match length <= room {
        true => text.to_owned(),
        false if room < 3 => return,
        false => text.chars().take(room - 1).chain(['…']).collect(),
    };
    let start = from + (room - text.chars().count()).div_ceil(2);
    for (cell, character) in line[start..].iter_mut().zip(text.chars()) {
        *cell = character;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::tests::example;

    fn plain(record: &Record, width: usize) -> String {
        draw(
            record,
            &Screen {
                width,
                style: Style { colour: false },
            },
        )
    }

    #[test]
    fn it_fits_the_screen() {
        for width in 50..=120 {
            for line in plain(&example(), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn it_shows_the_phases_the_queue_and_everybody_there() {
        let drawing = plain(&example(), 100);
        let wanted = [
            "draining",
            "locked",
            "waiting",
            "42",
            "client that stays",
            "server, version 2",
        ];
        for text in wanted {
            assert!(drawing.contains(text), "{text} is missing in\n{drawing}");
        }
        assert!(
            !drawing.contains('✗') && !drawing.contains('\x1b'),
            "{drawing}"
        );
    }

    #[test]
    fn one_failure_is_seen() {
        let mut record = example();
        record.visits[50].ended =
            Some((Duration::from_millis(505), Outcome::Failed(String::new())));
        assert_eq!(plain(&record, 80).matches('✗').count(), 1);
    }

    #[test]
    fn a_kill_is_seen_where_the_proxy_is() {
        let drawing = plain(&example(), 80);
        let killed: Vec<&str> = drawing.lines().filter(|line| line.contains('†')).collect();
        assert!(
            killed.len() == 1 && killed[0].starts_with(" proxy"),
            "{drawing}"
        );
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let coloured = draw(
            &example(),
            &Screen {
                width: 90,
                style: Style { colour: true },
            },
        );
        assert!(coloured.contains("\x1b[38;5;214m"));
        assert_eq!(
            coloured.lines().count(),
            plain(&example(), 90).lines().count()
        );
    }

    #[test]
    fn an_empty_record_is_no_reason_to_panic() {
        plain(&Record::default(), 80);
    }
}
