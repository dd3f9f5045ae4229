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
use streams::{Outcome, Plan};

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
fn run(kill: Kill, clients: usize, time: Duration, threads: usize, unix: bool) -> Run {
    let upstream = streams::Upstream::start(unix);
    let mut manager = Manager::new(upstream.target(), threads);
    manager.start();
    let address = manager.address();
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..clients)
        .map(|number| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut outcomes = Vec::new();
                let mut random = streams::Random::new(number as u64);
                while !over.load(Relaxed) {
                    outcomes.push(streams::carry(address, &Plan::random(&mut random)));
                }
                outcomes
            })
        })
        .collect();
    let begin = Instant::now();
    let mut random = streams::Random::new(4711);
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

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    let run = run(Kill::Process, 24, seconds(), 2, false);
    assert!(run.failed().is_empty(), "{:#?}", run.failed());
}

#[test]
fn nothing_is_lost_when_the_process_and_its_will_are_killed_but_for_who_is_being_accepted() {
    let run = run(Kill::Group, 24, seconds(), 2, false);
    let served = |outcome: &&&Outcome| outcome.answered;
    let failed = run.failed();
    assert_eq!(failed.iter().filter(served).count(), 0, "{failed:#?}");
    assert!(failed.len() * 20 <= run.kills, "{failed:#?}");
}

#[test]
fn nothing_is_lost_when_the_upstream_is_a_local_socket() {
    let run = run(Kill::Process, 12, seconds(), 2, true);
    assert!(run.failed().is_empty(), "{:#?}", run.failed());
}
