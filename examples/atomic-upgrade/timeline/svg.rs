//! The drawing as an SVG picture, for light and dark mode.

use std::fmt::Write;
use std::time::Duration;

use disnix_proxy_example::interface::GateState;

use super::{Ink, Series, layers, part, summary, tick_label, ticks};
use crate::narrator::{grouped, spoken};
use crate::record::{Column, Record, Version, Who};

/// The appearance of the elements, by their class.
const STYLE: &str = include_str!("style.css");

const WIDTH: f64 = 880.0;
/// The ends of the time axis.
const LEFT: f64 = 184.0;
const RIGHT: f64 = WIDTH - 32.0;
/// The left edge of the names of rows.
const LABELS: f64 = 28.0;
/// The baseline of the titles of phases.
const PHASES: f64 = 96.0;
/// The width of a column.
const COLUMN: f64 = 2.0;

/// A row: its upper edge and its height.
struct Row(f64, f64);

const WAITING: Row = Row(144.0, 84.0);
const SO_FAR: Row = Row(250.0, 112.0);
const OPEN: Row = Row(384.0, 26.0);
const FAILED: Row = Row(428.0, 16.0);
const LANES: Row = Row(466.0, 26.0);

impl Row {
    fn bottom(&self) -> f64 {
        self.0 + self.1
    }

    /// The height of a value on a scale up to `most`.
    fn y(&self, value: u32, most: u32) -> f64 {
        self.bottom() - f64::from(value) / f64::from(most.max(1)) * self.1
    }
}

/// The picture as the text of an SVG file.
pub fn draw(record: &Record) -> String {
    let series = Series::of(record, ((RIGHT - LEFT) / COLUMN) as usize);
    let bottom = LANES.0 + LANES.1 * record.lanes.len() as f64 + 6.0;
    let height = bottom + 40.0;
    let summary = summary(record);
    let mut picture = Picture {
        text: format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t d\">\n\
             <title id=\"t\">An atomic upgrade</title>\n<desc id=\"d\">{}</desc>\n\
             <style>{STYLE}</style>\n",
            escaped(&summary)
        ),
        length: record.length,
        bottom,
    };
    picture.rectangle("card", 0.5, 0.5, WIDTH - 1.0, height - 1.0, 12.0);
    picture.words(
        "title",
        LABELS,
        40.0,
        "An atomic upgrade, as its clients saw it",
    );
    picture.words("small", LABELS, 62.0, &summary);
    picture.phases(record);
    picture.waiting(&series);
    picture.so_far(&series);
    picture.open_and_failed(&series);
    picture.lanes(record);
    picture.kills(record);
    picture.axis();
    picture.text + "</svg>\n"
}

struct Picture {
    text: String,
    length: Duration,
    bottom: f64,
}

impl Picture {
    fn phases(&mut self, record: &Record) {
        for (number, phase) in record.phases().iter().enumerate() {
            let (from, to) = (self.x(phase.from), self.x(phase.to));
            let (top, bottom) = (PHASES - 16.0, self.bottom);
            let class = match phase.gate {
                GateState::Open => None,
                GateState::Draining => Some("draining"),
                GateState::Locked => Some("locked"),
            };
            if let Some(class) = class {
                self.rectangle(class, from, top, to - from, bottom - top, 0.0);
            }
            if number > 0 {
                self.line("border", (from, top), (from, bottom));
            }
            let lasted = spoken(phase.to.saturating_sub(phase.from));
            for (class, y, text) in [
                ("phase middle", PHASES, phase.title),
                ("small middle", PHASES + 18.0, &lasted),
            ] {
                // A character is about 7.5 wide.
                if text.chars().count() as f64 * 7.5 < to - from {
                    self.words(class, (from + to) / 2.0, y, text);
                }
            }
        }
    }

    fn waiting(&mut self, series: &Series) {
        let most = grouped(series.waiting as usize);
        let ys = |column: &Column| WAITING.y(column.waiting, series.waiting);
        self.area(Ink::Waiting, &WAITING, series.columns.iter().map(ys));
        self.row(&WAITING, "waiting", &format!("at most {most}"));
        let highest = |column: &Column| column.waiting == series.waiting;
        let peak = series.columns.iter().rposition(highest);
        if let Some(peak) = peak.filter(|_| series.waiting > 0) {
            self.words("end", LEFT + COLUMN * peak as f64 - 6.0, WAITING.0, &most);
        }
    }

    fn so_far(&mut self, series: &Series) {
        let Some(last) = series.columns.last() else {
            return;
        };
        // From the highest layer to the lowest, which covers the lower part of it.
        for (layer, (ink, _)) in layers(last).into_iter().enumerate().rev() {
            let ys = |column: &Column| SO_FAR.y(layers(column)[layer].1, series.arrived);
            self.area(ink, &SO_FAR, series.columns.iter().map(ys));
        }
        self.row(&SO_FAR, "all clients so far", "");
        let [one, two] = last.served.map(|served| grouped(served as usize));
        let legend = [
            (Ink::Waiting, "waiting".to_owned()),
            (Ink::Two, format!("{two} by version 2")),
            (Ink::One, format!("{one} by version 1")),
        ];
        for (number, (ink, text)) in legend.into_iter().enumerate() {
            let y = SO_FAR.0 + 32.0 + 21.0 * number as f64;
            self.rectangle(class(ink), LABELS, y - 10.0, 11.0, 11.0, 2.0);
            self.words("small", LABELS + 18.0, y, &text);
        }
    }

    fn open_and_failed(&mut self, series: &Series) {
        // One is still visible beside hundreds.
        let ys = |column: &Column| match column.open {
            0 => OPEN.bottom(),
            open => OPEN.y(open, series.open).min(OPEN.bottom() - 3.0),
        };
        self.area(Ink::Proxy, &OPEN, series.columns.iter().map(ys));
        self.row(
            &OPEN,
            "open connections",
            &format!("at most {}", grouped(series.open as usize)),
        );
        let middle = FAILED.0 + FAILED.1 / 2.0;
        self.words("name", LABELS, middle + 4.0, "failed");
        let count = match series.failed {
            0 => "none".to_owned(),
            some => grouped(some as usize),
        };
        self.words("small end", LEFT - 14.0, middle + 4.0, &count);
        self.line("line", (LEFT, middle), (RIGHT, middle));
        for (number, column) in series.columns.iter().enumerate() {
            if column.failed > 0 {
                let x = LEFT + COLUMN * number as f64;
                self.rectangle("failed", x, FAILED.0, 3.0, FAILED.1, 1.5);
            }
        }
    }

    fn lanes(&mut self, record: &Record) {
        for (number, (who, lane)) in record.lanes.iter().enumerate() {
            let top = LANES.0 + LANES.1 * number as f64;
            self.words("name", LABELS, top + 16.0, who.title());
            for &(from, to) in &lane.spans {
                let (from, to) = (self.x(from), self.x(to.unwrap_or(self.length)));
                let (from, width) = (from.min(RIGHT - 3.0), (to - from).max(3.0));
                let class = class(Ink::from(*who));
                self.rectangle(class, from, top + 5.0, width, 14.0, 3.0);
            }
            let start = lane.spans.first().map_or(LEFT, |span| self.x(span.0));
            let marks = lane.marks.iter();
            let marks = marks.map(|mark| (self.x(mark.0).max(start + 7.0), mark.1));
            let marks: Vec<_> = marks.collect();
            for (number, &(x, version)) in marks.iter().enumerate() {
                self.dot("dot", x, top + 12.0, 3.0);
                // The word is about 12 wide.
                if marks.get(number + 1).is_none_or(|next| next.0 - x > 24.0) {
                    let word = match version {
                        Version::One => "v1",
                        Version::Two => "v2",
                    };
                    self.words("said", x + 7.0, top + 16.0, word);
                }
            }
        }
    }

    /// A line through all rows, and a cross in the proxy's lane.
    fn kills(&mut self, record: &Record) {
        let lane = record.lanes.keys().position(|who| *who == Who::Proxy);
        for kill in &record.kills {
            let x = self.x(kill.at);
            self.line("kill", (x, WAITING.0), (x, self.bottom));
            if let Some(number) = lane {
                let y = LANES.0 + LANES.1 * number as f64 + 12.0;
                self.dot("failed", x, y, 8.0);
                for slope in [3.5, -3.5] {
                    self.line("cross", (x - 3.5, y - slope), (x + 3.5, y + slope));
                }
            }
        }
    }

    fn axis(&mut self) {
        let y = self.bottom;
        self.line("line", (LEFT, y), (RIGHT, y));
        for tick in ticks(self.length, 10) {
            let x = self.x(tick);
            self.line("line", (x, y), (x, y + 5.0));
            self.words("small middle", x, y + 21.0, &tick_label(tick));
        }
    }

    fn x(&self, moment: Duration) -> f64 {
        LEFT + part(moment, self.length) * (RIGHT - LEFT)
    }

    /// The name, the remark and the base line of a row.
    fn row(&mut self, row: &Row, name: &str, remark: &str) {
        self.words("name", LABELS, row.0 + 11.0, name);
        self.words("small", LABELS, row.0 + 30.0, remark);
        self.line("line", (LEFT, row.bottom()), (RIGHT, row.bottom()));
    }

    /// The area between the bottom of a row and the upper edge of each column.
    fn area(&mut self, ink: Ink, row: &Row, ys: impl Iterator<Item = f64>) {
        let mut last = row.bottom();
        let mut path = format!("M{LEFT} {last:.1}");
        for (number, y) in ys.enumerate() {
            if (y - last).abs() >= 0.05 {
                let x = LEFT + COLUMN * number as f64;
                let _ = write!(path, "H{x}V{y:.1}");
                last = y;
            }
        }
        let (class, bottom) = (class(ink), row.bottom());
        self.add(format_args!(
            "<path class=\"{class}\" d=\"{path}H{RIGHT}V{bottom:.1}Z\"/>"
        ));
    }

    fn words(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.add(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    fn rectangle(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, radius: f64) {
        self.add(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{radius}\"/>"
        ));
    }

    fn dot(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        self.add(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
        ));
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{element}");
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

/// A text as SVG.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
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
    fn it_shows_the_phases_the_queue_and_the_lanes() {
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
    fn it_has_colours_for_dark_mode() {
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
    fn an_empty_record_can_be_drawn() {
        assert_well_formed(&draw(&Record::default()));
    }

    #[test]
    fn an_area_has_a_step_for_each_change_and_nothing_where_there_is_nothing() {
        let mut picture = Picture {
            text: String::new(),
            length: Duration::ZERO,
            bottom: 0.0,
        };
        let ys = [1.0, 1.0, 2.0, 1.0];
        picture.area(Ink::One, &Row(0.0, 2.0), ys.into_iter());
        let path = "M184 2.0H184V1.0H188V2.0H190V1.0H848V2.0Z";
        assert!(picture.text.contains(path), "{}", picture.text);
    }

    #[test]
    fn a_text_is_no_markup() {
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
