//! Every byte is the right one, on every path, whatever the two ends do.

use std::rc::Rc;

use crate::front::{Front, Path, Wiring};
use crate::plan::Plan;
use crate::run::{plans, run, seed};

/// Connections through each wiring of each path.
const CONNECTIONS: usize = 250;

fn verified(path: Path) {
    let seed = seed();
    for (index, wiring) in Wiring::ALL.into_iter().enumerate() {
        let front = Rc::new(Front::new(path, wiring));
        let seed = seed ^ index as u64;
        let big = match wiring {
            Wiring::TcpToTcp => vec![
                Plan::bulk(seed, 100_000_000, 0),
                Plan::bulk(seed, 0, 100_000_000),
            ],
            _ => vec![Plan::bulk(seed, 10_000_000, 10_000_000)],
        };
        run(
            &front,
            seed,
            big.into_iter().chain(plans(seed, CONNECTIONS, Plan::any)),
        );
    }
}

#[test]
fn every_byte_is_right_as_it_is_started_by_default() {
    verified(Path::Usual);
}

#[test]
fn every_byte_is_right_with_one_thread() {
    verified(Path::Threads(1));
}

#[test]
fn every_byte_is_right_with_three_threads() {
    verified(Path::Threads(3));
}

#[test]
fn every_byte_is_right_without_pipes() {
    verified(Path::NoPipes);
}

#[test]
fn every_byte_is_right_with_pipes_of_two_pages() {
    verified(Path::SmallPipes);
}
