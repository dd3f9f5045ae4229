//! The command line.

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

use crate::candidates::{self, Candidate};
use crate::columns::all;
use crate::columns::column::Column;
use crate::network::{Congestion, Network, Setting};
use crate::pattern::Protocol;
use crate::tools::tool::Program;

/// Measure disnix-tcp-proxy beside its peers.
///
/// cargo bench --bench proxies -- [OPTIONS]
#[derive(Debug, Parser)]
#[command(name = "proxies")]
pub struct Options {
    /// The number of rounds, of which the medians count
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub rounds: usize,
    /// Measure each for so long
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Measure again, up to so often in all, while others use more than a tenth of the machine
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub tries: usize,
    /// Two short rounds, fewer idle connections: to see whether it works
    #[arg(long)]
    pub quick: bool,
    /// Measure this column only; repeatable
    #[arg(long, value_name = "COLUMN", value_parser = column_keys())]
    pub only: Vec<String>,
    /// Leave this peer or tool away; repeatable
    #[arg(long, value_name = "NAME", value_parser = families_and_tools())]
    pub without: Vec<String>,
    /// Join clients, proxy and service like this; repeatable
    #[arg(long, value_name = "KIND", default_value = "loopback")]
    pub network: Vec<Network>,
    /// Use this congestion control for all connections, instead of the machine's default; repeatable
    #[arg(long, value_name = "NAME")]
    pub congestion: Vec<Congestion>,
    /// Of several networks and congestion controls, measure this column in each, and others in the first; repeatable
    #[arg(long, value_name = "COLUMN", value_parser = column_keys())]
    pub in_each: Vec<String>,
    /// Measure another build of disnix-tcp-proxy as one of the peers
    #[arg(long, value_name = "PROGRAM")]
    pub compare_with: Option<PathBuf>,
    /// Write the tables into DIR/benchmark.md, and DIR/benchmark.svg
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// cargo bench says so
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// What `memory` holds.
const IDLE: usize = 9_000;

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is spoken.
    pub protocol: Protocol,
    /// How often.
    pub rounds: usize,
    /// How long each.
    pub length: Duration,
    /// How often at most, while the machine is not ours.
    pub tries: usize,
    /// Where everything is measured.
    pub settings: Vec<Setting>,
    /// How many idle connections are held.
    pub idle: usize,
    /// What is measured.
    pub columns: Vec<Column>,
    /// Who takes part.
    pub candidates: Vec<Candidate>,
}

impl Options {
    /// What is to be done, for each protocol: their candidates and tables are not the same.
    pub fn plans(&self) -> Vec<Plan> {
        if let Some(program) = &self.compare_with {
            candidates::compare_with(program.clone());
        }
        let plans = [Protocol::Plain, Protocol::Http].map(|protocol| self.plan(protocol));
        let plans = plans.into_iter();
        plans.filter(|plan| !plan.columns.is_empty()).collect()
    }

    /// Each network with each congestion control.
    fn settings(&self) -> Vec<Setting> {
        let congestion = match self.congestion.is_empty() {
            true => vec![None],
            false => self.congestion.iter().copied().map(Some).collect(),
        };
        let networks = self.network.iter();
        let with = |&network| {
            let congestion = congestion.clone().into_iter();
            congestion.map(move |congestion| Setting {
                network,
                congestion,
            })
        };
        networks.flat_map(with).collect()
    }

    fn plan(&self, protocol: Protocol) -> Plan {
        let only = |column: &Column| {
            let tool = column.tool().map(|tool| tool.program.name());
            let is_left_away = self.without.iter().any(|it| Some(it.as_str()) == tool);
            is_chosen(&self.only, column) && !is_left_away && column.protocol == protocol
        };
        let settings = self.settings();
        let columns = all::ALL.iter().filter(|column| only(column));
        let in_each = |it: &Column| it.depends_on_setting() && is_chosen(&self.in_each, it);
        let columns: Vec<_> = columns
            .flat_map(|it| match in_each(it) {
                true => it.in_each(&settings),
                false => it.in_each(&settings[..1]),
            })
            .collect();
        let with = |candidate: &Candidate| {
            let is_there = *candidate != Candidate::Other || candidates::other().is_some();
            let is_wanted = !self.without.iter().any(|it| it == candidate.family());
            is_there && is_wanted && columns.iter().any(|column| column.has(*candidate))
        };
        let candidates = candidates::ALL.iter().copied().filter(with).collect();
        let plan = Plan {
            protocol,
            rounds: self.rounds.max(1),
            length: Duration::from_secs_f64(self.seconds.clamp(0.01, 600.0)),
            tries: self.tries.max(1),
            settings,
            idle: IDLE,
            columns,
            candidates,
        };
        match (self.bench, self.quick) {
            (false, _) => plan.smallest(),
            (true, true) => Plan {
                rounds: 2,
                length: Duration::from_millis(500),
                tries: 1,
                idle: 1_000,
                ..plan
            },
            (true, false) => plan,
        }
    }
}

impl Plan {
    /// What to do to have all tools and their services.
    pub fn missing_tools(&self) -> Vec<String> {
        let tools = self.columns.iter().filter_map(Column::tool);
        let programs = tools.flat_map(|it| [it.program.find(), it.program.find_service()]);
        programs.filter_map(Result::err).collect()
    }

    /// Enough to see that the benchmark itself works: what `cargo test --benches` does, on any
    /// machine.
    fn smallest(self) -> Self {
        let ours = |candidate: &Candidate| ["ours", "copy", "nobody"].contains(&candidate.family());
        let own = |column: &Column| column.tool().is_none();
        Self {
            rounds: 1,
            length: Duration::from_millis(50),
            tries: 1,
            idle: 100,
            columns: self.columns.into_iter().filter(own).collect(),
            candidates: self.candidates.into_iter().filter(ours).collect(),
            ..self
        }
    }
}

/// Whether these keys name it. If there are none, they mean all.
fn is_chosen(keys: &[String], column: &Column) -> bool {
    keys.is_empty() || keys.iter().any(|key| key == column.key)
}

fn column_keys() -> Vec<&'static str> {
    all::ALL.iter().map(|column| column.key).collect()
}

fn families_and_tools() -> Vec<&'static str> {
    let mut names: Vec<_> = candidates::ALL.iter().map(|it| it.family()).collect();
    names.dedup();
    names.extend(Program::ALL.map(Program::name));
    names
}
