//! The drawing as a picture: SVG that follows the reader's light or dark mode.

use std::time::Duration;

use disnix_proxy_example::interface::GateState;

use super::shapes::{Shapes, escaped};
use super::style::STYLE;
use super::{Ink, Series, lane_ink, layers, part, summary, tick_label, ticks};
use crate::narrator::{grouped, spoken};
use crate::record::{Column, Record, Who};

const WIDTH: f64 = 880.0;
/// Where the time begins and ends.
const LEFT: f64 = 184.0;
const RIGHT: f64 = WIDTH - 32.0;
/// Where the names of the rows begin.
const LABELS: f64 = 28.0;
/// The head: title, sentence, phases.
const PHASES: f64 = 96.0;
/// Upper edge and height of the rows.
const WAITING: Row = Row {
    top: 144.0,
    height: 84.0,
};
const SO_FAR: Row = Row {
    top: 250.0,
    height: 112.0,
};
const OPEN: Row = Row {
    top: 384.0,
    height: 26.0,
};
const FAILED: Row = Row {
    top: 428.0,
    height: 16.0,
};
const LANES: Row = Row {
    top: 466.0,
    height: 26.0,
};

/// One column is so wide.
const COLUMN: f64 = 2.0;

/// A row of the drawing.
struct Row {
    top: f64,
    height: f64,
}

impl Row {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Where a value is that may reach `most`.
    fn y(&self, value: u32, most: u32) -> f64 {
        self.bottom() - f64::from(value) / f64::from(most.max(1)) * self.height
    }
}

/// The picture as the text of an SVG file.
pub fn draw(record: &Record) -> String {
    let series = Series::of(record, ((RIGHT - LEFT) / COLUMN) as usize);
    let bottom = LANES.top + LANES.height * record.lanes.len() as f64 + 6.0;
    let mut picture = Picture {
        shapes: Shapes::default(),
        length: record.length,
        bottom,
    };
    picture.head(record);
    picture.phases(record);
    picture.waiting(&series);
    picture.so_far(&series);
    picture.open_and_failed(&series);
    picture.lanes(record);
    picture.kills(record);
    picture.axis();
    let height = bottom + 40.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">An atomic upgrade</title>\n<desc id=\"d\">{}</desc>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"card\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n\
         {}</svg>\n",
        escaped(&summary(record)),
        WIDTH - 1.0,
        height - 1.0,
        picture.shapes,
    )
}

struct Picture {
    shapes: Shapes,
    length: Duration,
    bottom: f64,
}

impl Picture {
    fn head(&mut self, record: &Record) {
        self.shapes.words(
            "title",
            (LABELS, 40.0),
            "An atomic upgrade, as its clients saw it",
        );
        self.shapes.words("small", (LABELS, 62.0), &summary(record));
    }

    fn phases(&mut self, record: &Record) {
        for (number, phase) in record.phases().iter().enumerate() {
            let (from, to) = (self.x(phase.from), self.x(phase.to));
            let class = match phase.gate {
                GateState::Open => None,
                GateState::Draining => Some("draining"),
                GateState::Locked => Some("locked"),
            };
            let (top, bottom) = (PHASES - 16.0, self.bottom);
            if let Some(class) = class {
                self.shapes
                    .rectangle(class, (from, top), (to - from, bottom - top), 0.0);
            }
            if number > 0 {
                self.shapes.line("border", (from, top), (from, bottom));
            }
            let middle = (from + to) / 2.0;
            let lasted = spoken(phase.to.saturating_sub(phase.from));
            for (class, y, text) in [
                ("phase middle", PHASES, phase.title),
                ("small middle", PHASES + 18.0, &lasted),
            ] {
                // A character is about 7.5 wide.
                if text.chars().count() as f64 * 7.5 < to - from {
                    self.shapes.words(class, (middle, y), text);
                }
            }
        }
    }

    fn waiting(&mut self, series: &Series) {
        let row = &WAITING;
        self.name(row.top, "waiting");
        self.shapes.words(
            "small",
            (LABELS, row.top + 30.0),
            &format!("at most {}", grouped(series.waiting as usize)),
        );
        let edge = |column: &Column| row.y(column.waiting, series.waiting);
        self.area(Ink::Waiting, series, edge, |_| row.bottom());
        self.shapes
            .line("line", (LEFT, row.bottom()), (RIGHT, row.bottom()));
        let highest = |column: &Column| column.waiting == series.waiting;
        let peak = series.columns.iter().rposition(highest);
        if let Some(peak) = peak.filter(|_| series.waiting > 0) {
            let x = LEFT + COLUMN * peak as f64 - 6.0;
            let most = grouped(series.waiting as usize);
            self.shapes.words("end", (x, row.top), &most);
        }
    }

    fn so_far(&mut self, series: &Series) {
        let row = &SO_FAR;
        self.name(row.top, "all clients so far");
        let Some(last) = series.columns.last() else {
            return;
        };
        for (layer, (ink, _)) in layers(last).into_iter().enumerate() {
            let upper = |column: &Column| row.y(layers(column)[layer].1, series.arrived);
            let lower = |column: &Column| match layer {
                0 => row.bottom(),
                _ => row.y(layers(column)[layer - 1].1, series.arrived),
            };
            self.area(ink, series, upper, lower);
        }
        self.shapes
            .line("line", (LEFT, row.bottom()), (RIGHT, row.bottom()));
        let served = |version: usize| grouped(last.served[version] as usize);
        let legend = [
            (Ink::Waiting, "waiting".to_owned()),
            (Ink::Two, format!("{} by version 2", served(1))),
            (Ink::One, format!("{} by version 1", served(0))),
        ];
        for (number, (ink, text)) in legend.into_iter().enumerate() {
            let y = row.top + 32.0 + 21.0 * number as f64;
            self.shapes
                .rectangle(class(ink), (LABELS, y - 10.0), (11.0, 11.0), 2.0);
            self.shapes.words("small", (LABELS + 18.0, y), &text);
        }
    }

    fn open_and_failed(&mut self, series: &Series) {
        self.name(OPEN.top, "open connections");
        self.shapes.words(
            "small",
            (LABELS, OPEN.top + 30.0),
            &format!("at most {}", series.open),
        );
        // One is still to be seen beside hundreds.
        let edge = |column: &Column| match column.open {
            0 => OPEN.bottom(),
            open => OPEN.y(open, series.open).min(OPEN.bottom() - 3.0),
        };
        self.area(Ink::Proxy, series, edge, |_| OPEN.bottom());
        self.shapes
            .line("line", (LEFT, OPEN.bottom()), (RIGHT, OPEN.bottom()));
        let middle = FAILED.top + FAILED.height / 2.0;
        self.shapes.words("name", (LABELS, middle + 4.0), "failed");
        let count = match series.failed {
            0 => "none".to_owned(),
            some => grouped(some as usize),
        };
        self.shapes
            .words("small end", (LEFT - 14.0, middle + 4.0), &count);
        self.shapes.line("line", (LEFT, middle), (RIGHT, middle));
        for (number, column) in series.columns.iter().enumerate() {
            if column.failed > 0 {
                let x = LEFT + COLUMN * number as f64;
                self.shapes
                    .rectangle("failed", (x, FAILED.top), (3.0, FAILED.height), 1.5);
            }
        }
    }

    fn lanes(&mut self, record: &Record) {
        for (number, lane) in record.lanes.iter().enumerate() {
            let top = LANES.top + LANES.height * number as f64;
            self.shapes
                .words("name", (LABELS, top + 16.0), lane.who.title());
            for &(from, to) in &lane.spans {
                let (from, to) = (self.x(from), self.x(to.unwrap_or(self.length)));
                let (from, width) = (from.min(RIGHT - 3.0), (to - from).max(3.0));
                self.shapes.rectangle(
                    class(lane_ink(lane.who)),
                    (from, top + 5.0),
                    (width, 14.0),
                    3.0,
                );
            }
            let marks = lane.marks.iter();
            let marks: Vec<f64> = marks.map(|mark| self.x(*mark).max(LEFT + 7.0)).collect();
            for (number, &x) in marks.iter().enumerate() {
                let y = top + 12.0;
                self.shapes.dot("dot", (x, y), 3.0);
                // The word is about 30 wide.
                if marks.get(number + 1).is_none_or(|next| next - x > 42.0) {
                    self.shapes.words("said", (x + 7.0, y + 4.0), "hello");
                }
            }
        }
    }

    /// A line through all rows, and a cross where the proxy is.
    fn kills(&mut self, record: &Record) {
        let lane = record.lanes.iter().position(|lane| lane.who == Who::Proxy);
        for kill in &record.kills {
            let x = self.x(kill.at);
            self.shapes.line("kill", (x, WAITING.top), (x, self.bottom));
            if let Some(number) = lane {
                let y = LANES.top + LANES.height * number as f64 + 12.0;
                self.shapes.dot("failed", (x, y), 8.0);
                self.shapes
                    .line("cross", (x - 3.5, y - 3.5), (x + 3.5, y + 3.5));
                self.shapes
                    .line("cross", (x - 3.5, y + 3.5), (x + 3.5, y - 3.5));
            }
        }
    }

    fn axis(&mut self) {
        self.shapes
            .line("line", (LEFT, self.bottom), (RIGHT, self.bottom));
        for tick in ticks(self.length, 10) {
            let x = self.x(tick);
            self.shapes
                .line("line", (x, self.bottom), (x, self.bottom + 5.0));
            self.shapes
                .words("small middle", (x, self.bottom + 21.0), &tick_label(tick));
        }
    }

    fn x(&self, moment: Duration) -> f64 {
        LEFT + part(moment, self.length) * (RIGHT - LEFT)
    }

    fn name(&mut self, top: f64, text: &str) {
        self.shapes.words("name", (LABELS, top + 11.0), text);
    }

    /// The area between two edges; nothing where there is nothing between them.
    fn area(
        &mut self,
        ink: Ink,
        series: &Series,
        upper: impl Fn(&Column) -> f64,
        lower: impl Fn(&Column) -> f64,
    ) {
        let edges = series
            .columns
            .iter()
            .map(|column| (upper(column), lower(column)));
        let edges: Vec<(f64, f64)> = edges.collect();
        self.shapes.area(class(ink), LEFT, COLUMN, &edges);
    }
}

fn class(ink: Ink) -> &'static str {
    match ink {
        Ink::One => "one",
        Ink::Two => "two",
        Ink::Waiting => "waiting",
        Ink::Failed => "failed",
        Ink::Guest => "guest",
        Ink::Proxy => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::tests::example;

    /// Every element that is opened is closed, in order.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn it_shows_the_phases_the_queue_and_everybody_there() {
        let svg = draw(&example());
        assert_well_formed(&svg);
        let wanted = [
            "draining",
            "locked",
            ">42<",
            "80 by version 2",
            "client that stays",
            ">none<",
        ];
        for text in wanted {
            assert!(svg.contains(text), "{text} is missing in\n{svg}");
        }
    }

    #[test]
    fn a_kill_is_seen() {
        let svg = draw(&example());
        assert_eq!(svg.matches("<line class=\"kill\"").count(), 1);
        assert_eq!(svg.matches("<line class=\"cross\"").count(), 2);
    }

    #[test]
    fn it_has_colours_for_the_dark() {
        assert!(draw(&example()).contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn one_failure_is_seen() {
        let mut record = example();
        let reason = Outcome::Failed("<refused>".to_owned());
        record.visits[50].ended = Some((Duration::from_millis(505), reason));
        let svg = draw(&record);
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<rect class=\"failed\"").count(), 1);
    }

    #[test]
    fn an_empty_record_is_no_reason_to_panic() {
        assert_well_formed(&draw(&Record::default()));
    }
}
