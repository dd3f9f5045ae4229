//! The shapes an SVG is made of. What they look like is said by their class.

use std::fmt::{self, Display, Formatter};

/// Elements of an SVG, in the order in which they are drawn.
#[derive(Default)]
pub struct Shapes {
    text: String,
}

impl Display for Shapes {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Shapes {
    /// A text, where its class anchors it.
    pub fn words(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.add(&format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.add(&format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A rectangle with round corners.
    pub fn rectangle(&mut self, class: &str, at: (f64, f64), size: (f64, f64), radius: f64) {
        let ((x, y), (width, height)) = (at, size);
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{radius}\"/>"
        ));
    }

    /// A filled circle.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.add(&format!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
        ));
    }

    /// The area between an upper and a lower edge, given for columns of one width from `left` on;
    /// nothing where there is nothing between them.
    pub fn area(&mut self, class: &str, left: f64, width: f64, edges: &[(f64, f64)]) {
        let there = |edge: &(usize, &(f64, f64))| edge.1.1 - edge.1.0 > 0.05;
        let columns: Vec<_> = edges.iter().enumerate().filter(there).collect();
        for run in columns.chunk_by(|a, b| a.0 + 1 == b.0) {
            let (Some((begin, first)), Some((last, end))) = (run.first(), run.last()) else {
                continue;
            };
            let middle = |number: usize| left + width * (number as f64 + 0.5);
            let (begin, last) = (
                left + width * *begin as f64,
                left + width * (*last as f64 + 1.0),
            );
            let above = run.iter().map(|(number, edge)| (middle(*number), edge.0));
            let below = run
                .iter()
                .rev()
                .map(|(number, edge)| (middle(*number), edge.1));
            let outline = [(begin, first.1), (begin, first.0)]
                .into_iter()
                .chain(above);
            let outline = outline.chain([(last, end.0), (last, end.1)]).chain(below);
            let points = without_straights(&outline.collect::<Vec<_>>());
            let points = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
            let points = points.collect::<Vec<_>>().join(" ");
            self.add(&format!("<polygon class=\"{class}\" points=\"{points}\"/>"));
        }
    }

    fn add(&mut self, element: &str) {
        self.text += element;
        self.text += "\n";
    }
}

/// Leaves out the points of an outline between two neighbours of the same height.
fn without_straights(outline: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let flat = |a: &(f64, f64), b: &(f64, f64)| (a.1 - b.1).abs() < 0.05;
    let mut kept = Vec::new();
    for (number, point) in outline.iter().enumerate() {
        let before = number.checked_sub(1).map(|number| &outline[number]);
        let between = before.zip(outline.get(number + 1));
        if between.is_none_or(|(before, after)| !flat(before, point) || !flat(point, after)) {
            kept.push(*point);
        }
    }
    kept
}

/// A text as it is written in SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_stretches_need_no_points() {
        let outline = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 5.0)];
        assert_eq!(
            without_straights(&outline),
            [(0.0, 1.0), (2.0, 1.0), (3.0, 5.0)]
        );
    }

    #[test]
    fn an_area_has_holes_where_there_is_nothing() {
        let mut shapes = Shapes::default();
        let (something, nothing) = ((1.0, 2.0), (2.0, 2.0));
        let edges = [something, something, nothing, something, something, nothing];
        shapes.area("a", 0.0, 1.0, &edges);
        assert_eq!(shapes.to_string().matches("<polygon").count(), 2);
    }

    #[test]
    fn a_text_is_no_markup() {
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
