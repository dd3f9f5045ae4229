//! The results as a picture: a panel for each goal, in the load that counts, with a bar for each candidate, as
//! long as its ratio to the best peer. SVG that follows the reader's light or dark mode.

use std::fmt::Write as _;

use crate::candidates::Candidate;
use crate::figure;
use crate::results::Results;
use crate::summary::{Figure, Line};

const WIDTH: f64 = 992.0;
/// Panels beside each other.
pub const ACROSS: usize = 2;
/// How wide a panel is.
pub const PANEL: f64 = WIDTH / ACROSS as f64;
/// Where the panels begin, below the title.
pub const TOP: f64 = 76.0;
/// Of one bar with what is above it.
const ROW: f64 = 17.0;
/// Where in a panel the first bar begins.
const BARS: (f64, f64) = (184.0, 44.0);
/// How long a bar of the best peer is.
const ONE: f64 = 110.0;
/// Longer bars are cut.
const LONGEST: f64 = 1.8;
/// The right edge of the figures, in a column of their own: no bar and no line reaches it.
const FIGURES: f64 = PANEL - 48.0;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 19px; font-weight: 600 } .name { font-weight: 600 } .end { text-anchor: end }
  .small { fill: #59636e } .card { fill: #ffffff; stroke: #d1d9e0 }
  .ours { fill: #2f81f7 } .peer { fill: #aeb6bf } .nobody { fill: #aeb6bf; fill-opacity: .4 }
  .one { stroke: #818b98 } .goal { stroke: #d1242f; stroke-dasharray: 3 2 }
  .line { fill: none; stroke: #2f81f7; stroke-width: 2 } .grid { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .card { fill: #0d1117; stroke: #3d444d }
    .ours { fill: #4493f8 } .peer { fill: #656c76 } .nobody { fill: #656c76; fill-opacity: .4 }
    .one { stroke: #9198a1 } .goal { stroke: #f85149 }
    .line { stroke: #4493f8 } .grid { stroke: #3d444d }
  }
";

/// The picture as the text of an SVG file.
pub fn draw(results: &Results, figures: &[Figure]) -> String {
    let panels = figures
        .iter()
        .filter(|it| it.is_against_peers && it.goal.is_some());
    let panels: Vec<_> = panels
        .filter_map(|figure| Some((figure, &figure.lines[figure.worst()?])))
        .collect();
    let tall = BARS.1 + ROW * results.candidates.len() as f64 + 24.0;
    let height = TOP + tall * panels.len().div_ceil(ACROSS) as f64;
    let mut shapes = String::new();
    for (place, (figure, line)) in panels.into_iter().enumerate() {
        let left = PANEL * (place % ACROSS) as f64 + 24.0;
        let top = TOP + tall * (place / ACROSS) as f64;
        let _ = writeln!(shapes, "<g transform=\"translate({left} {top})\">");
        panel(&mut shapes, results, figure, line);
        shapes.push_str("</g>\n");
    }
    page("disnix-tcp-proxy beside its peers", SAID, height, &shapes)
}

/// A page of this height, with a title and what is to be said of the shapes below it.
pub fn page(title: &str, said: &str, height: f64, shapes: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">{title}</title>\n\
         <desc id=\"d\">{said}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"card\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n\
         <text class=\"title\" x=\"24\" y=\"36\">{title}</text>\n\
         <text class=\"small\" x=\"24\" y=\"56\">{said}</text>\n{shapes}</svg>\n",
        WIDTH - 1.0,
        height - 1.0,
    )
}

const SAID: &str = "A longer bar is better: the ratio to the best peer (solid line); the goal is the \
                    dashed line. Medians, in the load in which disnix-tcp-proxy does worst.";

/// One figure of everybody.
fn panel(shapes: &mut String, results: &Results, figure: &Figure, line: &Line) {
    let (column, at) = line.place;
    let (left, top) = BARS;
    let _ = writeln!(
        shapes,
        "<text class=\"name\" x=\"0\" y=\"16\">{}</text><text class=\"small\" x=\"0\" y=\"31\">{}</text>",
        figure.name,
        line.load()
    );
    let bars: Vec<_> = results
        .candidates
        .iter()
        .enumerate()
        .filter_map(|(who, &candidate)| {
            let value = results.median(column, who, at)?;
            Some((candidate, value, results.ratio(column, who, at)?))
        })
        .collect();
    for (class, ratio) in [("one", Some(1.0)), ("goal", figure.goal)] {
        let Some(ratio) = ratio else { continue };
        let x = left + ratio * ONE;
        let _ = writeln!(
            shapes,
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>",
            top - 4.0,
            top + ROW * bars.len() as f64
        );
    }
    for (row, (candidate, value, ratio)) in bars.into_iter().enumerate() {
        let y = top + ROW * row as f64;
        let length = ratio.min(LONGEST) * ONE;
        let _ = writeln!(
            shapes,
            "<text class=\"small end\" x=\"{}\" y=\"{}\">{}</text>\
             <rect class=\"{}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\"/>\
             <text class=\"value end\" x=\"{FIGURES}\" y=\"{}\">{}</text>",
            left - 6.0,
            y + 11.0,
            candidate.name(),
            class(candidate),
            ROW - 4.0,
            y + 11.0,
            figure::figure(value, figure.digits),
        );
    }
}

fn class(candidate: Candidate) -> &'static str {
    match candidate {
        Candidate::Nobody => "nobody",
        peer if peer.is_peer() => "peer",
        _ => "ours",
    }
}
