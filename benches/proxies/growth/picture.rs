//! The results as a picture: a panel for each figure, both axes logarithmic, with a line of what grows as fast as the
//! number of connections.

use std::fmt::Write as _;

use super::figures::ALL;
use super::records::Records;
use crate::figure::figure;
use crate::plot::{ACROSS, PANEL, TOP, page};

/// How tall a panel is, with its title.
const TALL: f64 = 236.0;
/// Where in a panel the axes begin, and how long they are.
const AREA: Area = Area {
    left: 72.0,
    top: 30.0,
    width: PANEL - 72.0 - 60.0,
    height: 150.0,
};

const TITLE: &str = "disnix-tcp-proxy with more and more connections";
const SAID: &str = "Costs by the number of connections, half of them busy, both axes logarithmic. What is steeper than \
                    the dashed line grows faster than the number.";

struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// What the axes show, in powers of ten: each ends at whole ones.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn around(points: &[(f64, f64)]) -> Self {
        let around = |of: fn(&(f64, f64)) -> f64| {
            let least = points.iter().map(of).fold(f64::MAX, f64::min).floor();
            let most = points.iter().map(of).fold(f64::MIN, f64::max).ceil();
            (least, most.max(least + 1.0))
        };
        Self {
            x: around(|point| point.0),
            y: around(|point| point.1),
        }
    }

    /// Where a point is in a panel.
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |value: f64, (from, to): (f64, f64)| (value - from) / (to - from);
        (
            AREA.left + AREA.width * part(x, self.x),
            AREA.top + AREA.height * (1.0 - part(y, self.y)),
        )
    }
}

/// The picture as the text of an SVG file.
pub fn draw(records: &Records) -> String {
    let mut shapes = String::new();
    let costs = ALL.iter().enumerate();
    let costs = costs.filter_map(|(at, figure)| Some((at, figure.cost.as_ref()?)));
    let panels: Vec<_> = costs.collect();
    for (place, (at, cost)) in panels.iter().enumerate() {
        let left = PANEL * (place % ACROSS) as f64 + 24.0;
        let top = TOP + TALL * (place / ACROSS) as f64;
        let _ = writeln!(shapes, "<g transform=\"translate({left} {top})\">");
        panel(&mut shapes, cost.name, &records.costs(*at));
        shapes.push_str("</g>\n");
    }
    let height = TOP + TALL * panels.len().div_ceil(ACROSS) as f64;
    page(TITLE, SAID, height, &shapes)
}

/// One figure.
fn panel(shapes: &mut String, name: &str, costs: &[(usize, f64)]) {
    let _ = writeln!(
        shapes,
        "<text class=\"name\" x=\"0\" y=\"16\">{name}</text>"
    );
    let costs = costs.iter().filter(|(_, value)| *value > 0.0);
    let points: Vec<(f64, f64)> = costs
        .map(|(number, value)| ((*number as f64).log10(), value.log10()))
        .collect();
    let Some(&first) = points.first() else {
        return;
    };
    let axes = Axes::around(&points);
    grid(shapes, &axes);
    // As steep as the number of connections grows, as far as there is room.
    let steep = (axes.x.1 - first.0).min(axes.y.1 - first.1);
    let (from, to) = (
        axes.place(first),
        axes.place((first.0 + steep, first.1 + steep)),
    );
    let _ = writeln!(
        shapes,
        "<line class=\"goal\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
    let places: Vec<_> = points.iter().map(|point| axes.place(*point)).collect();
    let corners: Vec<_> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        shapes,
        "<polyline class=\"line\" points=\"{}\"/>",
        corners.join(" ")
    );
    for (x, y) in places {
        let _ = writeln!(
            shapes,
            "<circle class=\"ours\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
        );
    }
}

/// A line and a number at each whole power of ten.
fn grid(shapes: &mut String, axes: &Axes) {
    let (right, bottom) = (AREA.left + AREA.width, AREA.top + AREA.height);
    for power in axes.x.0 as i32..=axes.x.1 as i32 {
        let (x, _) = axes.place((power.into(), axes.y.0));
        let _ = writeln!(
            shapes,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
             <text class=\"small end\" x=\"{:.1}\" y=\"{}\">{}</text>",
            AREA.top,
            x + 16.0,
            bottom + 18.0,
            of_power(power)
        );
    }
    for power in axes.y.0 as i32..=axes.y.1 as i32 {
        let (_, y) = axes.place((axes.x.0, power.into()));
        let _ = writeln!(
            shapes,
            "<line class=\"grid\" x1=\"{}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
             <text class=\"small end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            AREA.left,
            AREA.left - 8.0,
            y + 4.0,
            of_power(power)
        );
    }
}

/// A power of ten as people write it.
fn of_power(power: i32) -> String {
    let digits = usize::try_from(-power).unwrap_or(0);
    figure(10_f64.powi(power), digits)
}
