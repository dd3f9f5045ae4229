//! All that was measured, and its medians.

use std::collections::BTreeMap;

use super::figures::{self, Values};
use super::measure::Measurement;
use super::room::Room;
use super::slope::{self, Step};
use crate::results::median;

/// The figures of a run.
pub struct Records {
    /// What each round has given, by the number of connections.
    rounds: BTreeMap<usize, Vec<Values>>,
    /// How many connections are possible.
    pub room: Room,
    /// Shares of the machine that others used.
    others: Vec<f64>,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Records {
    /// Nothing yet.
    pub fn new(room: Room) -> Self {
        Self {
            rounds: BTreeMap::new(),
            room,
            others: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds what was measured at this number.
    pub fn add(&mut self, number: usize, measured: Result<Measurement, String>) {
        match measured {
            Err(error) => self.failures.push(format!("{number} connections: {error}")),
            Ok(measured) => {
                self.rounds.entry(number).or_default().push(measured.values);
                self.others.push(measured.others);
                let losses = measured.losses.iter();
                self.failures
                    .extend(losses.map(|what| format!("{number} connections: {what}")));
            }
        }
    }

    /// The numbers of connections.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.rounds.keys().copied()
    }

    /// The median of the rounds.
    pub fn median(&self, number: usize, figure: usize) -> Option<f64> {
        let rounds = self.rounds.get(&number)?.iter();
        median(rounds.filter_map(|values| values[figure]).collect())
    }

    /// What a figure costs at each number.
    pub fn costs(&self, figure: usize) -> Vec<(usize, f64)> {
        let cost = |number: usize| {
            let cost = figures::ALL[figure].cost.as_ref()?;
            let value = self.median(number, figure)?;
            Some((number, (cost.of)(value, number as f64)))
        };
        self.numbers().filter_map(cost).collect()
    }

    /// How fast a figure grows.
    pub fn steps(&self, figure: usize) -> Vec<Step> {
        slope::steps(&self.costs(figure))
    }

    /// The share of the machine that others used: its median and its most.
    pub fn others(&self) -> Option<(f64, f64)> {
        let most = self.others.iter().copied().reduce(f64::max)?;
        Some((median(self.others.clone())?, most))
    }
}
