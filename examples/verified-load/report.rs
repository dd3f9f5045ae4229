//! The counts and the report.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::connection::Connection;
use crate::failure::{Failure, Kind};
use crate::load::Load;
use crate::pauses::{Summary, milliseconds, rounded};
use crate::talk::Group;
use crate::worker::Done;

/// The number of failures that are described.
const DESCRIBED: usize = 8;

/// The results of all connections so far.
#[derive(Debug, Default)]
pub struct Tally {
    opened: BTreeMap<&'static str, u64>,
    finished: BTreeMap<&'static str, u64>,
    lost: Lost,
    corrupt: u64,
    waiting: u64,
    bytes: u64,
    described: Vec<String>,
    /// Failed reconnects of lost connections.
    refused_again: u64,
    /// Streams that were not started, because too many were open.
    pub held_back: u64,
    /// Connections to the upstream that ended before their greeting.
    pub wordless: u64,
    /// Connections to the upstream whose clients were already lost.
    pub strays: u64,
    /// The pauses of this program itself.
    pub own_pause: Duration,
}

/// Lost connections.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lost {
    total: u64,
    refused: u64,
    reset: u64,
    early_end: u64,
    timed_out: u64,
    other: u64,
    /// Those that had reached the upstream.
    established: u64,
    /// Those that had not.
    new: u64,
    by_group: BTreeMap<&'static str, u64>,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    opened: BTreeMap<&'static str, u64>,
    finished: BTreeMap<&'static str, u64>,
    lost: Lost,
    corrupt: u64,
    waiting: u64,
    refused_again: u64,
    wordless: u64,
    strays: u64,
    held_back: u64,
    bytes: u64,
    packets: u64,
    packets_per_second: f64,
    pauses: BTreeMap<&'static str, Summary>,
    own_pause_ms: f64,
    new_connections_per_second: f64,
    requests_per_second: f64,
    seconds: f64,
    in_flight_at_the_end: usize,
    first_losses: Vec<String>,
}

impl Tally {
    pub fn opened(&mut self, group: &'static str) {
        *self.opened.entry(group).or_default() += 1;
    }

    /// Counts the result of a connection.
    pub fn ended(&mut self, load: &Load, connection: &Connection, result: Result<(), Failure>) {
        self.bytes += connection.up.get() + connection.down.get();
        let text = match result {
            Ok(()) => {
                *self.finished.entry(connection.group).or_default() += 1;
                return;
            }
            Err(Failure::Lost(Kind::Refused, _)) if connection.again.get() => {
                // It was counted as lost before.
                *self.opened.entry(connection.group).or_default() -= 1;
                self.refused_again += 1;
                return;
            }
            Err(Failure::Lost(kind, text)) => {
                self.lost.add(kind, connection);
                text
            }
            Err(Failure::Corrupt(text)) => {
                self.corrupt += 1;
                text
            }
        };
        self.describe(load, connection, &text);
    }

    /// Counts a connection that still waits to be accepted.
    pub fn waits(&mut self, load: &Load, connection: &Connection) {
        self.waiting += 1;
        self.describe(load, connection, "the upstream has never heard of it");
    }

    /// Counts data that was not sent.
    pub fn is_wrong(&mut self, text: String) {
        self.corrupt += 1;
        if self.described.len() < DESCRIBED {
            self.described.push(text);
        }
    }

    fn describe(&mut self, load: &Load, connection: &Connection, text: &str) {
        if self.described.len() >= DESCRIBED {
            return;
        }
        let client = connection.client.get();
        self.described.push(format!(
            "{:.3} s: one of the {}, {} s old, {} bytes up, {} bytes down, client {}: {text}",
            load.seconds(),
            connection.group,
            rounded(connection.begun.elapsed().as_secs_f64()),
            connection.up.get(),
            connection.down.get(),
            client.map_or("?".to_owned(), |client| client.to_string()),
        ));
    }
}

impl Lost {
    fn add(&mut self, kind: Kind, connection: &Connection) {
        self.total += 1;
        *match kind {
            Kind::Refused => &mut self.refused,
            Kind::Reset => &mut self.reset,
            Kind::EarlyEnd => &mut self.early_end,
            Kind::TimedOut => &mut self.timed_out,
            Kind::Other => &mut self.other,
        } += 1;
        *match connection.heard.has_happened() {
            true => &mut self.established,
            false => &mut self.new,
        } += 1;
        *self.by_group.entry(connection.group).or_default() += 1;
    }
}

impl Report {
    /// The counts at the end of the time.
    pub fn new(
        seconds: f64,
        in_flight: usize,
        groups: &[(std::rc::Rc<Group>, f64)],
        done: &Done,
    ) -> Self {
        let packets = groups.iter().map(|(group, _)| group.packets.get()).sum();
        let rate = |count: u64| rounded(count as f64 / seconds);
        Self {
            opened: BTreeMap::new(),
            finished: BTreeMap::new(),
            lost: Lost::default(),
            corrupt: 0,
            waiting: 0,
            refused_again: 0,
            wordless: 0,
            strays: 0,
            held_back: 0,
            bytes: 0,
            packets,
            packets_per_second: rate(packets),
            pauses: BTreeMap::new(),
            own_pause_ms: 0.0,
            new_connections_per_second: rate(done.connections.get()),
            requests_per_second: rate(done.requests.get()),
            seconds: rounded(seconds),
            in_flight_at_the_end: in_flight,
            first_losses: Vec::new(),
        }
    }

    /// The counts when no connection is open.
    pub fn finish(&mut self, load: &Load, groups: &[(std::rc::Rc<Group>, f64)]) {
        let tally = load.tally.take();
        self.pauses = groups
            .iter()
            .map(|(group, _)| (group.name, group.pauses.borrow().summary()))
            .filter(|(_, summary)| summary.answers > 0)
            .collect();
        self.opened = tally.opened;
        self.finished = tally.finished;
        self.lost = tally.lost;
        self.corrupt = tally.corrupt;
        self.waiting = tally.waiting;
        self.refused_again = tally.refused_again;
        self.wordless = tally.wordless;
        self.strays = tally.strays;
        self.held_back = tally.held_back;
        self.bytes = tally.bytes;
        self.own_pause_ms = rounded(milliseconds(tally.own_pause));
        self.first_losses = tally.described;
    }

    /// As one line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| error.to_string())
    }

    /// Whether anything was lost or wrong.
    pub fn is_bad(&self) -> bool {
        self.lost.total + self.corrupt + self.waiting > 0
    }

    #[cfg(test)]
    pub fn finished(&self) -> u64 {
        self.finished.values().sum()
    }

    #[cfg(test)]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    #[cfg(test)]
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }

    #[cfg(test)]
    pub fn lost(&self) -> u64 {
        self.lost.total
    }
}
