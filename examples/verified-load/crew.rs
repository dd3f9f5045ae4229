//! One run, from the first connection to the report.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::bytes::Random;
use crate::load::Load;
use crate::options::Options;
use crate::report::Report;
use crate::talk::Group;
use crate::worker::{self, Done};
use crate::{ticker, upstream};

/// The limit for the first answers of the connections that stay.
const UNTIL_READY: Duration = Duration::from_secs(60);

/// Performs the run.
///
/// # Errors
///
/// If the upstream cannot listen, or connections that stay are not answered.
pub async fn run(options: Options) -> io::Result<Report> {
    let load = Rc::new(Load::new(options));
    let options = &load.options;
    upstream::begin(&load)?;
    let groups = [
        (Group::new("packets", options.talkers), options.packets),
        (Group::new("idle", options.idle), options.idle_packets),
    ];
    for (group, _) in &groups {
        group.begin(&load);
        if timeout(UNTIL_READY, group.complete.wait()).await.is_err() {
            let (count, name) = (group.members.borrow().len(), group.name);
            let text = format!("only {count} of the {name} connections are answered");
            return Err(io::Error::other(text));
        }
    }
    eprintln!("ready");
    load.beginning.set(Instant::now());
    for (group, rate) in &groups {
        group.pauses.borrow_mut().clear();
        group.packets.set(0);
        spawn_local(ticker::talk(Rc::clone(&load), Rc::clone(group), *rate));
    }
    spawn_local(ticker::own_pauses(Rc::clone(&load)));
    spawn_local(ticker::streams(Rc::clone(&load)));
    let done = Rc::new(Done::default());
    let mut random = Random::new(options.seed ^ 0x3042);
    for _ in 0..options.workers {
        spawn_local(worker::run(
            Rc::clone(&load),
            Rc::clone(&done),
            random.next(),
        ));
    }
    sleep(options.duration()).await;
    let in_flight = load.connections.borrow().len();
    let mut report = Report::new(load.seconds(), in_flight, &groups, &done);
    for (group, _) in &groups {
        group.close(&load);
    }
    load.ending.tell();
    let grace = Duration::from_secs_f64(options.grace);
    if timeout(grace, load.is_empty()).await.is_err() {
        load.give_up();
    }
    report.finish(&load, &groups);
    Ok(report)
}
