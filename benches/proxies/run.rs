//! Round after round: every load, and for each load one candidate after the other.

use std::thread;
use std::time::{Duration, Instant};

use disnix_proxy_example::service::program::raise_descriptor_limit;

use crate::candidates::Candidate;
use crate::columns::column::{Column, Load};
use crate::control;
use crate::cpu::{Busy, OneProcessor, Tree};
use crate::figure::count;
use crate::load::{bulk, connections, idle, paced, requests, tool};
use crate::memory::Group;
use crate::network::{self, Setting};
use crate::options::Plan;
use crate::pairs;
use crate::program::Running;
use crate::results::Results;
use crate::service::Upstream;
use crate::tools::tool::Services;
use crate::window::Window;

/// The most connections that every proxy is configured for, if there are descriptors for them.
const ROOM: usize = 16_384;
/// The connections of requests at a rate.
const PACED: usize = 50;
/// Descriptors that are not for connections.
const DESCRIPTORS_RESERVED: usize = 1_500;

/// Others use so much of the machine that the figures are worth little.
pub const CROWDED: f64 = 0.1;
/// So long we wait for them, looking so often.
const CALM_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);

/// Measures everything, and says on standard error how it goes.
pub fn run(plan: &Plan) -> Results {
    let descriptors = usize::try_from(raise_descriptor_limit()).unwrap_or(usize::MAX);
    let descriptors = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    let mut results = Results::new(plan);
    let mut best_rates: Vec<(Setting, f64)> = Vec::new();
    let services = Services::default();
    for round in 0..plan.rounds {
        for (place, column) in plan.columns.iter().enumerate() {
            // All rounds have the same rate.
            let setting = column.setting;
            if !best_rates.iter().any(|it| it.0 == setting) {
                let best = results.best_rate(PACED, setting);
                best_rates.extend(best.map(|best| (setting, best)));
            }
            let best_rate = best_rates.iter().find(|it| it.0 == setting);
            let circumstances = Circumstances {
                plan,
                descriptors,
                best_rate: best_rate.map(|it| it.1),
                services: &services,
            };
            let measure = |candidate| measure(&circumstances, column, candidate);
            let candidates = plan.candidates.iter().enumerate();
            let (ours, others): (Vec<_>, Vec<_>) = candidates
                .filter(|(_, candidate)| column.has(**candidate))
                .map(|(who, _)| who)
                .partition(|&who| plan.candidates[who] == column.ours());
            for group in pairs::groups(ours.first().copied(), &others, round) {
                let measure_one = |who: usize| {
                    let candidate = plan.candidates[who];
                    let measured = calmly(plan, || measure(candidate));
                    report((round, plan.rounds), column, candidate, &measured);
                    (who, measured)
                };
                results.add(place, group.into_iter().map(measure_one).collect());
            }
        }
    }
    results
}

fn report(
    (round, rounds): (usize, usize),
    column: &Column,
    candidate: Candidate,
    measured: &Result<Measured, String>,
) {
    eprintln!(
        "{}/{rounds} {:12} {:14} {:28} {}",
        round + 1,
        column.key,
        column.setting.name(),
        candidate.name(),
        say(column, measured)
    );
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

/// Measures until nobody else uses much of the machine meanwhile, or too often; the attempt with
/// the fewest others counts.
fn calmly(
    plan: &Plan,
    mut measure: impl FnMut() -> Result<Measured, String>,
) -> Result<Measured, String> {
    let mut best = measure()?;
    for _ in 1..plan.tries {
        if best.others.is_none_or(|others| others < CROWDED) {
            break;
        }
        wait_for_calm();
        let next = measure()?;
        if next.others < best.others {
            best = next;
        }
    }
    Ok(best)
}

fn wait_for_calm() {
    let until = Instant::now() + CALM_WITHIN;
    while Instant::now() < until {
        let (machine, began) = (Busy::beside_us(), Instant::now());
        thread::sleep(LOOK);
        if machine.others(began.elapsed()) < CROWDED {
            return;
        }
    }
}

/// What is the same for all measurements of a round.
struct Circumstances<'a> {
    plan: &'a Plan,
    /// How many there are for connections.
    descriptors: usize,
    best_rate: Option<f64>,
    services: &'a Services,
}

fn measure(
    circumstances: &Circumstances<'_>,
    column: &Column,
    candidate: Candidate,
) -> Result<Measured, String> {
    let (plan, descriptors) = (circumstances.plan, circumstances.descriptors);
    let _one = match column.pinned {
        true => Some(OneProcessor::enter()?),
        false => None,
    };
    let room = ROOM.min(descriptors / 2);
    let hosts = network::enter(column.setting)?;
    let upstream = match column.load {
        Load::Tool(tool) => Upstream::start_for(tool, circumstances.services, hosts)?,
        _ => Upstream::start(column.protocol, hosts)?,
    };
    if column.load == Load::Idle {
        let possible = plan.idle.min(descriptors / candidate.descriptors());
        let mut measured = hold(column, candidate, &upstream, room, possible)?;
        if possible < plan.idle && measured.remark.is_none() {
            let remark = format!(
                "{} connections: it needs more descriptors each",
                count(possible)
            );
            measured.remark = Some(remark);
        }
        return Ok(measured);
    }
    let started = candidate.start(&upstream, room, None)?;
    let (proxy, to) = match &started {
        Some((running, at)) => (running.processes(), upstream.through(*at)),
        None => (Tree::default(), upstream.at),
    };
    let window = Window::new(&proxy, plan.length);
    let seen = match column.load {
        Load::Bulk(streams) => bulk::run(to, streams, window)?,
        Load::Connections(at_a_time) => connections::run(to, at_a_time, window)?,
        Load::Requests(count) => requests::run(to, count, window)?,
        Load::Paced(percent) => {
            let best = circumstances.best_rate;
            let best = best.ok_or("the best rate is unknown: measure requests-50, too")?;
            paced::run(to, PACED, best * f64::from(percent) / 100.0, window)?
        }
        Load::Tool(tool) => {
            let running = started.as_ref().map(|(running, _)| running);
            let (seen, output) = tool::run(tool, to.at, plan.length, running)?;
            return Ok(Measured {
                others: Some(seen.others),
                values: column.of_tool(&seen, &output, started.is_some()),
                remark: None,
            });
        }
        Load::Idle => return Err("an idle connection is no load".to_owned()),
    };
    Ok(Measured {
        others: Some(seen.others),
        values: column.of_seen(seen, started.is_some()),
        remark: None,
    })
}

/// Measures the memory of `count` idle connections.
fn hold(
    column: &Column,
    candidate: Candidate,
    upstream: &Upstream,
    room: usize,
    count: usize,
) -> Result<Measured, String> {
    let group = match Group::new("proxies") {
        Ok(group) => group,
        Err(error) => return Ok(Measured::nothing(format!("no control group: {error}"))),
    };
    let Some((running, at)) = candidate.start(upstream, room, Some(&group))? else {
        return Err("there is nobody whose memory it is".to_owned());
    };
    let rest = |count| rest(candidate, &running, count);
    let held = idle::run(upstream.through(at), count, rest, || group.used())?;
    Ok(Measured {
        values: column.of_held(&held, count, group.uncharged()),
        others: None,
        remark: None,
    })
}

/// Waits until so many clients are as idle as they become.
fn rest(candidate: Candidate, running: &Running, count: usize) -> Result<(), String> {
    match candidate {
        Candidate::Detaching => control::wait_until_detached(running.directory(), count),
        _ => Ok(()),
    }
}

impl Measured {
    /// Nothing can be measured, and that is nobody's fault.
    fn nothing(why: String) -> Self {
        Self {
            values: Vec::new(),
            others: None,
            remark: Some(why),
        }
    }
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
