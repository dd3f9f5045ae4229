//! The drawing for a terminal: block characters, with colours if possible.

use std::io;
use std::time::Duration;

use super::blocks::{Cell, cell, colour, foreground};
use super::{Ink, Series, layers, part, tick_label, ticks};
use crate::narrator::{Style, WIDTH, grouped, spoken};
use crate::record::{Column, Record, Version, Who};

/// The width of the names of rows.
const LABEL: usize = 18;
/// The width of the figures at the end of rows: a client each millisecond, for a minute.
const FIGURE: usize = 6;
/// The narrowest drawing.
const NARROWEST: usize = 50;
/// The heights of *waiting* and of *so far*, in lines.
const WAITING_LINES: usize = 4;
const SO_FAR_LINES: usize = 7;

/// The size and the style of the drawing.
pub struct Screen {
    /// Characters in a line.
    pub width: usize,
    /// The style.
    pub style: Style,
}

impl Screen {
    /// That of standard output, at most as wide as the narration.
    pub fn of_stdout() -> Self {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let width = size.map_or(WIDTH, |size| usize::from(size.ws_col));
        Self {
            width: width.clamp(NARROWEST, WIDTH),
            style: Style::of_stdout(),
        }
    }
}

/// The drawing, ready to be printed.
pub fn draw(record: &Record, screen: &Screen) -> String {
    // Before the label and the figure is a space.
    let width = screen.width.saturating_sub(LABEL + FIGURE + 2).max(10);
    let phases = record.phases();
    let mut drawing = Drawing {
        style: screen.style,
        length: record.length,
        width,
        borders: Vec::new(),
        text: String::new(),
    };
    let (mut titles, mut lengths) = (vec![' '; width], vec![' '; width]);
    for phase in &phases {
        let (from, to) = (drawing.place(phase.from), drawing.place(phase.to));
        write_centred(&mut titles[from..to], phase.title);
        write_centred(&mut lengths[from..to], &spoken(phase.to - phase.from));
    }
    let borders = phases.iter().skip(1);
    drawing.borders = borders.map(|phase| drawing.place(phase.from)).collect();
    drawing.heading(&titles);
    drawing.heading(&lengths);
    drawing.areas(&Series::of(record, width));
    drawing.lanes(record);
    drawing.axis();
    drawing.text
}

/// The lines drawn so far.
struct Drawing {
    style: Style,
    length: Duration,
    width: usize,
    borders: Vec<usize>,
    text: String,
}

impl Drawing {
    /// The column of a moment.
    fn place(&self, moment: Duration) -> usize {
        ((part(moment, self.length) * self.width as f64) as usize).min(self.width - 1)
    }

    fn heading(&mut self, characters: &[char]) {
        let text: String = characters.iter().collect();
        self.text += format!(" {:LABEL$}{text}", "").trim_end();
        self.text += "\n";
    }

    fn areas(&mut self, series: &Series) {
        let colour = self.style.colour;
        for line in (0..WAITING_LINES).rev() {
            let (label, figure) = edges(line, WAITING_LINES, "waiting", series.waiting);
            self.row(self.label(label), &figure, series, |column| {
                let layers = [(Ink::Waiting, column.waiting)];
                cell(&layers, series.waiting, line, WAITING_LINES, true)
            });
        }
        self.row(self.label(""), "", series, |_| Cell::BLANK);
        for line in (0..SO_FAR_LINES).rev() {
            let (label, figure) = edges(line, SO_FAR_LINES, "so far", series.arrived);
            let label = match line {
                5 => self.sample(Ink::Waiting, '░', "waiting"),
                4 => self.sample(Ink::Two, '▓', "by version 2"),
                3 => self.sample(Ink::One, '█', "by version 1"),
                _ => self.label(label),
            };
            self.row(label, &figure, series, |column| {
                cell(&layers(column), series.arrived, line, SO_FAR_LINES, colour)
            });
        }
        self.row(self.label(""), "", series, |_| Cell::BLANK);
        let figure = grouped(series.open as usize);
        self.row(self.label("open"), &figure, series, |column| {
            cell(&[(Ink::Proxy, column.open)], series.open, 0, 1, true)
        });
        let figure = grouped(series.failed as usize);
        let none = Cell {
            character: '·',
            ..Cell::BLANK
        };
        self.row(
            self.label("failed"),
            &figure,
            series,
            |column| match column.failed {
                0 => none,
                _ => Cell::new('✗', Ink::Failed),
            },
        );
    }

    fn lanes(&mut self, record: &Record) {
        for (who, lane) in &record.lanes {
            let ink = Ink::from(*who);
            let mut cells = vec![Cell::BLANK; self.width];
            for &(from, to) in &lane.spans {
                let (from, to) = (self.place(from), self.place(to.unwrap_or(self.length)));
                cells[from..=to].fill(Cell::new('━', ink));
            }
            for &(at, version) in &lane.marks {
                let digit = match version {
                    Version::One => '1',
                    Version::Two => '2',
                };
                cells[self.place(at)] = Cell::new(digit, ink);
            }
            let kills = record.kills.iter().filter(|_| *who == Who::Proxy);
            for kill in kills {
                cells[self.place(kill.at)] = Cell::new('†', Ink::Failed);
            }
            self.add(self.label(who.title()), "", cells);
        }
    }

    fn axis(&mut self) {
        let mut axis = vec![' '; self.width + FIGURE];
        for tick in ticks(self.length, self.width / 7) {
            let from = (part(tick, self.length) * self.width as f64) as usize;
            for (cell, character) in axis[from..].iter_mut().zip(tick_label(tick).chars()) {
                *cell = character;
            }
        }
        self.heading(&axis);
    }

    fn label(&self, name: &str) -> String {
        format!(" {name:LABEL$}")
    }

    /// A label with a sample of its colour, or with this character if there are no colours.
    fn sample(&self, ink: Ink, plain: char, name: &str) -> String {
        let sample = if self.style.colour { '█' } else { plain };
        let sample = self.style.paint(&foreground(ink), &sample.to_string());
        format!("  {sample} {name:width$}", width = LABEL - 3)
    }

    /// A line with a cell for each column.
    fn row(
        &mut self,
        label: String,
        figure: &str,
        series: &Series,
        draw: impl Fn(&Column) -> Cell,
    ) {
        self.add(label, figure, series.columns.iter().map(draw).collect());
    }

    /// A line of cells, with the borders of the phases in blank ones.
    fn add(&mut self, label: String, figure: &str, mut cells: Vec<Cell>) {
        for &border in &self.borders {
            if cells[border] == Cell::BLANK {
                cells[border].character = '┊';
            }
        }
        let mut line = label;
        for run in cells.chunk_by(|a, b| (a.ink, a.paper) == (b.ink, b.paper)) {
            let text: String = run.iter().map(|cell| cell.character).collect();
            line += &match (run[0].ink, run[0].paper) {
                (None, _) if text.trim().is_empty() => text,
                (None, _) => self.style.dim(&text),
                (Some(ink), None) => self.style.paint(&foreground(ink), &text),
                (Some(ink), Some(paper)) => {
                    let both = format!("{};48;5;{}", foreground(ink), colour(paper));
                    self.style.paint(&both, &text)
                }
            };
        }
        self.text += format!("{line} {figure}").trim_end();
        self.text += "\n";
    }
}

/// The label and the figure of a line, counted from the bottom, of a row with several lines: the name and
/// the maximum at the top, 0 at the bottom.
fn edges(line: usize, lines: usize, name: &str, most: u32) -> (&str, String) {
    match line {
        0 => ("", grouped(0)),
        _ if line + 1 == lines => (name, grouped(most as usize)),
        _ => ("", String::new()),
    }
}

/// Writes a text into the middle of these characters, as much as fits.
fn write_centred(line: &mut [char], text: &str) {
    let (room, length) = (line.len(), text.chars().count());
    let text: Vec<char> = match length <= room {
        true => text.chars().collect(),
        false if room < 3 => return,
        false => text.chars().take(room - 1).chain(['…']).collect(),
    };
    let start = (room - text.len()).div_ceil(2);
    line[start..start + text.len()].copy_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::tests::{example, widest};

    fn plain(record: &Record, width: usize) -> String {
        let style = Style { colour: false };
        draw(record, &Screen { width, style })
    }

    #[test]
    fn it_fits_the_screen_at_its_widest() {
        for (record, widths) in [(example(), NARROWEST..=120), (widest(), WIDTH - 1..=WIDTH)] {
            for width in widths {
                for line in plain(&record, width).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn it_shows_the_phases_the_queue_and_the_lanes() {
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
        let (width, style) = (90, Style { colour: true });
        let coloured = draw(&example(), &Screen { width, style });
        assert!(coloured.contains("\x1b[38;5;214m"));
        assert_eq!(
            coloured.lines().count(),
            plain(&example(), 90).lines().count()
        );
    }

    #[test]
    fn an_empty_record_can_be_drawn() {
        plain(&Record::default(), 80);
    }
}
