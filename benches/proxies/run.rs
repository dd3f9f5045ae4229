//! Round after round: every load, and for each load one candidate after the other.

use disnix_proxy_example::service::program::raise_descriptor_limit;

use crate::candidates::{Candidate, start_upstream};
use crate::columns::{Column, Load};
use crate::cpu::{OneProcessor, Tree};
use crate::load::{bulk, connections, idle, requests};
use crate::memory::Group;
use crate::options::Plan;
use crate::results::Results;
use crate::window::Window;

/// The most connections that every proxy is configured for, if there are descriptors for them.
const ROOM: usize = 16_384;
/// Descriptors that are not for connections.
const DESCRIPTORS_RESERVED: usize = 1_500;

/// Measures everything, and says on standard error how it goes.
pub fn run(plan: &Plan) -> Results {
    let descriptors = usize::try_from(raise_descriptor_limit()).unwrap_or(usize::MAX);
    let descriptors = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    let mut results = Results::new(plan);
    for round in 0..plan.rounds {
        for (place, column) in plan.columns.iter().enumerate() {
            for (who, candidate) in plan.candidates.iter().enumerate() {
                if matches!(column.load, Load::Idle(_)) && *candidate == Candidate::Nobody {
                    continue;
                }
                let measured = measure(plan, column, *candidate, descriptors);
                eprintln!(
                    "{}/{} {:12} {:28} {}",
                    round + 1,
                    plan.rounds,
                    column.key,
                    candidate.name(),
                    say(column, &measured)
                );
                results.add(place, who, measured);
            }
        }
    }
    results
}

/// What one measurement gave.
#[derive(Clone, Debug)]
pub struct Measured {
    /// In the order of the column's metrics.
    pub values: Vec<Option<f64>>,
    /// Share of the machine that others used meanwhile.
    pub others: Option<f64>,
    /// What has to be said of it.
    pub remark: Option<String>,
}

fn measure(
    plan: &Plan,
    column: &Column,
    candidate: Candidate,
    descriptors: usize,
) -> Result<Measured, String> {
    let _one = match column.pinned {
        true => Some(OneProcessor::enter()?),
        false => None,
    };
    let room = ROOM.min(descriptors / 2);
    let (_upstream, direct) = start_upstream()?;
    if let Load::Idle(count) = column.load {
        let count = count.min(plan.idle);
        let possible = count.min(descriptors / candidate.descriptors());
        let group = Group::new("proxies").map_err(|error| format!("no control group: {error}"))?;
        let started = candidate.start(direct, room, Some(&group))?;
        let port = started.as_ref().map_or(direct, |(_, port)| *port);
        let held = idle::run(port, possible, || group.used())?;
        return Ok(Measured {
            values: column.of_held(&held, possible, group.uncharged()),
            others: None,
            remark: (possible < count)
                .then(|| format!("{possible} connections: it needs more descriptors each")),
        });
    }
    let started = candidate.start(direct, room, None)?;
    let (proxy, port) = match &started {
        Some((running, port)) => (running.processes(), *port),
        None => (Tree::default(), direct),
    };
    let window = Window::new(&proxy, plan.length);
    let seen = match column.load {
        Load::Bulk(streams) => bulk::run(port, streams, window)?,
        Load::Connections(at_a_time) => connections::run(port, at_a_time, window)?,
        Load::Requests(count) => requests::run(port, count, window)?,
        Load::Idle(_) => return Err("an idle connection is no load".to_owned()),
    };
    Ok(Measured {
        others: Some(seen.others),
        values: column.of_seen(seen, started.is_some()),
        remark: None,
    })
}

fn say(column: &Column, measured: &Result<Measured, String>) -> String {
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => return format!("FAILED: {error}"),
    };
    let values = column.metrics.iter().zip(&measured.values);
    let mut said: Vec<_> = values
        .filter_map(|(metric, value)| {
            Some(format!("{:.*} {}", metric.digits, (*value)?, metric.name))
        })
        .collect();
    said.extend(measured.remark.clone());
    said.join(", ")
}
