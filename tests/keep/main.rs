//! Connections that outlive the process that relays them, byte for byte, whenever it is killed.
//!
//! This process plays systemd and both ends of every connection. The process that is killed is this
//! program too: a small relay on top of `proxy::keep`.

mod manager;
mod relay;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use manager::{Kill, Manager};
use streams::{Outcome, Plan, Random};

/// Not a test: what the manager runs.
#[test]
#[ignore = "the process that is killed"]
fn relay_process() {
    if std::env::var_os(manager::ROLE).is_some() {
        relay::run();
    }
}

/// What came of a run.
struct Run {
    outcomes: Vec<Outcome>,
    kills: usize,
}

impl Run {
    fn failed(&self) -> Vec<&Outcome> {
        let is_failure = |outcome: &&Outcome| outcome.result.is_err();
        self.outcomes.iter().filter(is_failure).collect()
    }
}

/// Kills again and again while `clients` at a time have their streams carried.
fn run(kill: Kill, clients: usize, plan: fn(&mut Random) -> Plan, unix: bool) -> Run {
    let upstream = streams::Upstream::start(unix);
    let mut manager = Manager::new(upstream.target(), 2);
    let time = seconds();
    manager.start();
    let address = manager.address();
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..clients)
        .map(|number| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut outcomes = Vec::new();
                let mut random = Random::new(number as u64);
                while !over.load(Relaxed) {
                    outcomes.push(streams::carry(address, &plan(&mut random)));
                }
                outcomes
            })
        })
        .collect();
    let begin = Instant::now();
    let mut random = Random::new(4711);
    let mut kills = 0;
    while begin.elapsed() < time {
        std::thread::sleep(Duration::from_micros(20_000 + random.below(60_000)));
        manager.kill(kill);
        kills += 1;
        if random.below(4) == 0 {
            // In the middle of restoring.
            manager.spawn();
            std::thread::sleep(Duration::from_micros(random.below(8_000)));
            manager.kill(kill);
        }
        manager.start();
    }
    over.store(true, Relaxed);
    let outcomes: Vec<Outcome> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    assert_eq!(upstream.corrupt(), Vec::<String>::new());
    let run = Run { outcomes, kills };
    let bytes: u64 = run.outcomes.iter().map(|outcome| outcome.bytes).sum();
    let longest = run
        .outcomes
        .iter()
        .map(|outcome| outcome.longest_pause)
        .max();
    println!(
        "{} connections, {} MB, {} kills, {} failed, longest pause {:?}",
        run.outcomes.len(),
        bytes >> 20,
        run.kills,
        run.failed().len(),
        longest.unwrap_or_default()
    );
    run
}

fn seconds() -> Duration {
    let text = std::env::var("KEEP_TEST_SECONDS");
    let seconds = text.ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Nobody who has been answered is lost, and of the others at most one in twenty kills: those who were
/// being accepted.
fn only_the_unaccepted(run: &Run) {
    let served = |outcome: &&&Outcome| outcome.answered;
    let failed = run.failed();
    assert_eq!(failed.iter().filter(served).count(), 0, "{failed:#?}");
    assert!(failed.len() * 20 <= run.kills, "{failed:#?}");
}

fn nobody(run: &Run) {
    assert!(run.failed().is_empty(), "{:#?}", run.failed());
}

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    nobody(&run(Kill::Process, 24, Plan::random, false));
}

#[test]
fn no_new_connection_is_lost_when_the_process_is_killed() {
    nobody(&run(Kill::Process, 12, Plan::small, false));
}

#[test]
fn only_who_is_being_accepted_is_lost_when_the_will_is_killed_too() {
    only_the_unaccepted(&run(Kill::Group, 24, Plan::random, false));
}

#[test]
fn of_new_connections_only_those_being_accepted_are_lost_when_the_will_is_killed_too() {
    only_the_unaccepted(&run(Kill::Group, 12, Plan::small, false));
}

#[test]
fn nothing_is_lost_when_the_upstream_is_a_local_socket() {
    nobody(&run(Kill::Process, 12, Plan::random, true));
}
