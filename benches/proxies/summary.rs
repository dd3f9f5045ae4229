//! The figures of a run, each with all loads that measure it. The load in which we are worst counts against the goal.

use crate::candidates::Candidate;
use crate::network::Setting;
use crate::results::Results;
use crate::worst::{worst, worst_of_each};

/// One figure.
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// Digits after the point.
    pub digits: usize,
    /// What we want to reach.
    pub goal: Option<f64>,
    /// Whether it compares us with the best peer; else one of ours with another one, or with no proxy.
    pub is_against_peers: bool,
    /// Each load.
    pub lines: Vec<Line>,
}

/// What one load says about it.
pub struct Line {
    /// The place of its column and its metric.
    pub place: (usize, usize),
    /// What makes the load.
    pub source: String,
    /// Where it was measured, if there is more than one place, or an unusual one.
    pub setting: Option<String>,
    /// Our median.
    pub ours: f64,
    /// Who is compared with us, with its median.
    pub other: Option<(Candidate, f64)>,
    /// How much better we are.
    pub ratio: Option<f64>,
    /// How probable that is if both are equal.
    pub chance: Option<f64>,
}

impl Line {
    /// What makes the load, and where.
    pub fn load(&self) -> String {
        let load = [Some(self.source.clone()), self.setting.clone()];
        load.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Figure {
    /// The place of the load that counts.
    pub fn worst(&self) -> Option<usize> {
        let ratios: Vec<_> = self.lines.iter().map(|line| line.ratio).collect();
        worst(&ratios)
    }

    /// The same with only one line for each load: that of the setting in which we are worst.
    fn with_the_worst_settings(mut self) -> Self {
        let named = self.lines.iter();
        let named: Vec<_> = named.map(|it| (it.source.as_str(), it.ratio)).collect();
        let places = worst_of_each(&named);
        let mut lines: Vec<_> = self.lines.into_iter().map(Some).collect();
        let kept = places.into_iter().filter_map(|place| lines[place].take());
        self.lines = kept.collect();
        self
    }
}

/// All of them: against the best peers, and then those of ours against each other.
pub fn summary(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    for is_against_peers in [true, false] {
        for (column, it) in results.columns.iter().enumerate() {
            for metric in 0..it.metrics.len() {
                add(&mut figures, results, (column, metric), is_against_peers);
            }
        }
    }
    let figures = figures.into_iter();
    figures.map(Figure::with_the_worst_settings).collect()
}

/// Adds a line to its figure, if we take part.
fn add(
    figures: &mut Vec<Figure>,
    results: &Results,
    (at, place): (usize, usize),
    is_against_peers: bool,
) {
    let column = &results.columns[at];
    let metric = &column.metrics[place];
    let (ours, other, goal) = match (is_against_peers, metric.own) {
        (true, _) => (column.ours(), results.best_peer(at, place), metric.goal),
        (false, Some((ours, other, goal))) => {
            let value = results.median_of(at, other, place);
            (ours, value.map(|value| (other, value)), Some(goal))
        }
        (false, None) => return,
    };
    let Some(value) = results.median_of(at, ours, place) else {
        return;
    };
    let paired = other.filter(|_| ours == column.ours());
    let paired = paired.and_then(|(who, _)| results.comparison(at, who, place));
    let ratio = match paired {
        Some(paired) => Some(paired.ratio),
        None => other.map(|(_, other)| metric.ratio(value, other)),
    };
    let mut settings = results.columns.iter().map(|it| it.setting);
    let is_elsewhere = settings.any(|it| it != Setting::MACHINE);
    let line = Line {
        place: (at, place),
        source: column.source(),
        setting: is_elsewhere.then(|| column.setting.name()),
        ours: value,
        other,
        ratio,
        chance: paired.and_then(|it| it.chance),
    };
    let which = match ours {
        Candidate::Handover => "Handover. ",
        Candidate::Detaching => "Detached. ",
        _ => "",
    };
    let name = format!("{which}{}: {}", column.subject, metric.name);
    let is_it = |it: &&mut Figure| it.name == name && it.is_against_peers == is_against_peers;
    match figures.iter_mut().find(is_it) {
        Some(figure) => figure.lines.push(line),
        None => figures.push(Figure {
            name,
            digits: metric.digits,
            goal,
            is_against_peers,
            lines: vec![line],
        }),
    }
}
