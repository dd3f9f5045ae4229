//! All that was measured: medians, and ratios to the best peer.

use crate::candidates::Candidate;
use crate::columns::column::{Column, Load};
use crate::network::Setting;
use crate::options::Plan;
use crate::pattern::Protocol;
use crate::run::Measured;
use crate::significance::chance;

/// The figures of a run.
pub struct Results {
    /// What was measured.
    pub columns: Vec<Column>,
    /// Who took part.
    pub candidates: Vec<Candidate>,
    /// For each column and candidate what each round gave.
    cells: Vec<Vec<Vec<Measured>>>,
    /// For each column and candidate the pairs of our proxy with it.
    pairs: Vec<Vec<Vec<Pair>>>,
    /// What went wrong.
    pub failures: Vec<String>,
    /// What has to be said.
    pub remarks: Vec<String>,
}

/// What two candidates gave right after each other.
struct Pair {
    ours: Vec<Option<f64>>,
    other: Vec<Option<f64>>,
}

/// How our proxy compares with another candidate, by their pairs.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The median of the pairs' ratios: above 1 is better.
    pub ratio: f64,
    /// The probability that two equal candidates differ as much. `None` when no pair differs.
    pub chance: Option<f64>,
}

impl Results {
    /// Nothing yet.
    pub fn new(plan: &Plan) -> Self {
        Self {
            columns: plan.columns.clone(),
            candidates: plan.candidates.clone(),
            cells: vec![vec![Vec::new(); plan.candidates.len()]; plan.columns.len()],
            pairs: plan
                .columns
                .iter()
                .map(|_| plan.candidates.iter().map(|_| Vec::new()).collect())
                .collect(),
            failures: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Adds what a group of candidates gave, one right after the other.
    pub fn add(&mut self, column: usize, group: Vec<(usize, Result<Measured, String>)>) {
        let ours = self.columns[column].ours();
        let is_ours = |who: usize| self.candidates[who] == ours;
        let values =
            |measured: &Result<Measured, String>| Some(measured.as_ref().ok()?.values.clone());
        let ours = group.iter().find(|(who, _)| is_ours(*who));
        if let Some(ours) = ours.and_then(|(_, measured)| values(measured)) {
            for (who, measured) in group.iter().filter(|(who, _)| !is_ours(*who)) {
                let other = values(measured);
                let ours = ours.clone();
                self.pairs[column][*who].extend(other.map(|other| Pair { ours, other }));
            }
        }
        for (who, measured) in group {
            self.add_one(column, who, measured);
        }
    }

    fn add_one(&mut self, column: usize, candidate: usize, measured: Result<Measured, String>) {
        let of = format!(
            "{}, {}",
            self.columns[column].title(),
            self.candidates[candidate].name()
        );
        match measured {
            Err(error) => self.failures.push(format!("{of}: {error}")),
            Ok(measured) => {
                let remark = measured.remark.as_ref().map(|it| format!("{of}: {it}"));
                if remark.as_ref().is_some_and(|it| !self.remarks.contains(it)) {
                    self.remarks.extend(remark);
                }
                self.cells[column][candidate].push(measured);
            }
        }
    }

    /// The median of the rounds.
    pub fn median(&self, column: usize, candidate: usize, metric: usize) -> Option<f64> {
        median(self.rounds(column, candidate, metric))
    }

    /// The median of one who may not have taken part.
    pub fn median_of(&self, column: usize, candidate: Candidate, metric: usize) -> Option<f64> {
        let who = self.candidates.iter().position(|it| *it == candidate)?;
        self.median(column, who, metric)
    }

    /// How far the rounds are from each other: half of the distance between the least and the most,
    /// as a part of the median.
    pub fn spread(&self, column: usize, candidate: usize, metric: usize) -> Option<f64> {
        let rounds = self.rounds(column, candidate, metric);
        let most = rounds.iter().copied().reduce(f64::max)?;
        let least = rounds.iter().copied().reduce(f64::min)?;
        Some((most - least) / 2.0 / median(rounds)?)
    }

    /// The best peer, and its median.
    pub fn best_peer(&self, column: usize, metric: usize) -> Option<(Candidate, f64)> {
        let more = self.columns[column].metrics[metric].more;
        let peers = self.candidates.iter().enumerate();
        peers
            .filter(|(_, candidate)| candidate.is_peer())
            .filter_map(|(who, &peer)| Some((peer, self.median(column, who, metric)?)))
            .reduce(|best, next| {
                if (next.1 > best.1) == more {
                    next
                } else {
                    best
                }
            })
    }

    /// The most requests a second that a peer has reached with so many plain connections, by now.
    pub fn best_rate(&self, connections: usize, setting: Setting) -> Option<f64> {
        let is_it = |column: &Column| {
            column.load == Load::Requests(connections)
                && column.protocol == Protocol::Plain
                && column.setting == setting
        };
        let column = self.columns.iter().position(is_it)?;
        Some(self.best_peer(column, 0)?.1)
    }

    /// The median against the best peer's: above 1 is better.
    pub fn ratio(&self, column: usize, candidate: usize, metric: usize) -> Option<f64> {
        let (_, best) = self.best_peer(column, metric)?;
        let value = self.median(column, candidate, metric)?;
        // Direct handover needs no CPU for bulk at all.
        Some(self.columns[column].metrics[metric].ratio(value, best)).filter(|it| it.is_finite())
    }

    /// Our proxy beside another candidate that was measured next to it.
    pub fn comparison(&self, column: usize, other: Candidate, metric: usize) -> Option<Comparison> {
        let who = self.candidates.iter().position(|it| *it == other)?;
        let value = |values: &[Option<f64>]| values.get(metric).copied().flatten();
        let ratio = |pair: &Pair| {
            let (ours, other) = (value(&pair.ours)?, value(&pair.other)?);
            Some(self.columns[column].metrics[metric].ratio(ours, other))
        };
        let pairs = self.pairs[column][who].iter();
        let ratios: Vec<f64> = pairs
            .filter_map(ratio)
            .filter(|it| it.is_finite())
            .collect();
        let chance = chance(&ratios);
        let ratio = median(ratios)?;
        Some(Comparison { ratio, chance })
    }

    /// The share of the machine that others used: its median and its most.
    pub fn others(&self) -> Option<(f64, f64)> {
        let cells = self.cells.iter().flatten().flatten();
        let all: Vec<_> = cells.filter_map(|measured| measured.others).collect();
        let most = all.iter().copied().reduce(f64::max)?;
        Some((median(all)?, most))
    }

    fn rounds(&self, column: usize, candidate: usize, metric: usize) -> Vec<f64> {
        let cell = &self.cells[column][candidate];
        cell.iter()
            .filter_map(|it| *it.values.get(metric)?)
            .collect()
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}
