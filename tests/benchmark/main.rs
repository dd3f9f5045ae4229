//! The parts of the benchmark that only compute: the benchmark itself has no test harness.

mod outputs;
#[path = "../../benches/proxies/pairs.rs"]
mod pairs;
#[path = "../../benches/proxies/schedule.rs"]
mod schedule;
#[path = "../../benches/proxies/significance.rs"]
mod significance;
#[path = "../../benches/proxies/growth/slope.rs"]
mod slope;
#[path = "../../benches/proxies/worst.rs"]
mod worst;

use std::time::Duration;

use pairs::groups;
use schedule::Schedule;
use significance::chance;
use slope::{CHANCE, steps};
use worst::{worst, worst_of_each};

const OURS: usize = 100;

/// The pairs of ours and another one, and whether ours came first.
fn pairs_of(round: usize, others: &[usize]) -> Vec<(usize, bool)> {
    let groups = groups(Some(OURS), others, round);
    let mut pairs: Vec<_> = groups
        .iter()
        .flat_map(|group| group.windows(2))
        .map(|two| match two[0] == OURS {
            true => (two[1], true),
            false => (two[0], false),
        })
        .collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn every_other_candidate_is_right_beside_ours_once_a_round() {
    for count in 0..9 {
        let others: Vec<usize> = (0..count).collect();
        for round in 0..4 {
            let paired: Vec<_> = pairs_of(round, &others)
                .into_iter()
                .map(|it| it.0)
                .collect();
            assert_eq!(paired, others, "round {round}");
        }
    }
}

#[test]
fn in_two_rounds_each_of_a_pair_is_the_first_one_once() {
    for count in 1..9 {
        let others: Vec<usize> = (0..count).collect();
        let first = pairs_of(0, &others);
        let second = pairs_of(1, &others);
        for (one, other) in first.into_iter().zip(second) {
            assert_eq!((one.0, one.1), (other.0, !other.1));
        }
    }
}

#[test]
fn ours_is_measured_without_others_and_others_without_ours() {
    assert_eq!(groups(Some(OURS), &[], 0), [[OURS]]);
    assert_eq!(groups(None, &[1, 2, 3], 0).concat(), [1, 2, 3]);
    assert_eq!(groups(None, &[1, 2, 3], 1).concat(), [3, 2, 1]);
    assert!(groups(None, &[], 0).is_empty());
}

/// The same by trying all signs of the differences.
fn by_trying_all_signs(ratios: &[f64]) -> f64 {
    let sizes: Vec<f64> = ratios.iter().map(|ratio| ratio.ln().abs()).collect();
    let rank = |size: f64| {
        let below = sizes.iter().filter(|it| **it < size).count();
        let equal = sizes.iter().filter(|it| **it == size).count();
        2 * below + equal + 1
    };
    let sum = |is_better: &dyn Fn(usize) -> bool| -> usize {
        let better = (0..sizes.len()).filter(|place| is_better(*place));
        better.map(|place| rank(sizes[place])).sum()
    };
    let seen = sum(&|place| ratios[place] > 1.0);
    let all = 1_u32 << ratios.len();
    let sums: Vec<usize> = (0..all)
        .map(|signs| sum(&|place| signs >> place & 1 == 1))
        .collect();
    let at_most = sums.iter().filter(|it| **it <= seen).count();
    let at_least = sums.iter().filter(|it| **it >= seen).count();
    (2.0 * at_most.min(at_least) as f64 / f64::from(all)).min(1.0)
}

#[test]
fn the_probability_is_that_of_all_signs() {
    // Every pattern of signs of seven pairs, with ties and without.
    for sizes in [
        [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
        [1.25, 1.25, 1.25, 1.5, 2.0, 2.0, 4.0],
        [2.0; 7],
    ] {
        for signs in 0_u32..128 {
            let turned = |place: usize, size: f64| match signs >> place & 1 {
                0 => size,
                _ => (-size.ln()).exp(),
            };
            let ratios: Vec<f64> = sizes
                .iter()
                .enumerate()
                .map(|(place, &size)| turned(place, size))
                .collect();
            let found = chance(&ratios).unwrap();
            let expected = by_trying_all_signs(&ratios);
            assert!(
                (found - expected).abs() < 1e-12,
                "{ratios:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn nine_pairs_of_one_direction_are_no_chance_and_one_pair_says_nothing() {
    assert_eq!(chance(&[1.01; 9]), Some(2.0 / 512.0));
    assert_eq!(chance(&[0.99; 9]), Some(2.0 / 512.0));
    assert_eq!(chance(&[3.0]), Some(1.0));
}

#[test]
fn pairs_without_a_difference_or_without_a_ratio_do_not_count() {
    assert_eq!(chance(&[]), None);
    assert_eq!(chance(&[1.0, 1.0]), None);
    let some = [1.1, 1.2, 0.7, 1.3];
    let with_more = [1.1, 1.0, 1.2, f64::INFINITY, 0.7, f64::NAN, 1.3, 0.0];
    assert_eq!(chance(&with_more), chance(&some));
}

#[test]
fn each_request_is_due_at_its_time_also_when_it_is_sent_late() {
    let mut schedule = Schedule::new(1000.0);
    let mut taken = Vec::new();
    for now in [0, 1, 1, 7, 7, 8].map(Duration::from_millis) {
        taken.extend(std::iter::from_fn(|| schedule.take(now)));
        assert!(schedule.next() > now);
    }
    let expected: Vec<_> = (0..9).map(Duration::from_millis).collect();
    assert_eq!(taken, expected);
}

#[test]
fn the_power_is_that_of_the_number() {
    for power in [-0.5, 0.0, 0.3, 1.0, 2.0] {
        let at = |number: usize| (number, 7.0 * (number as f64).powf(power));
        let numbers = [100, 1_000, 10_000, 160_000];
        let found = steps(&numbers.map(at));
        let pairs: Vec<_> = found.iter().map(|step| (step.from, step.to)).collect();
        assert_eq!(pairs, [(100, 1_000), (1_000, 10_000), (10_000, 160_000)]);
        for step in found {
            assert!((step.power - power).abs() < 1e-9, "{step:?}");
            assert_eq!(step.is_faster, power > 1.0, "{step:?}");
        }
    }
}

#[test]
fn a_figure_grows_faster_than_the_number_only_beyond_what_may_be_chance() {
    for (factor, is_faster) in [(0.9, false), (CHANCE - 0.01, false), (CHANCE + 0.01, true)] {
        let found = steps(&[(100, 1.0), (200, 2.0 * factor)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].is_faster, is_faster, "{factor}");
    }
}

#[test]
fn what_has_no_logarithm_and_what_does_not_grow_in_number_is_no_step() {
    assert!(steps(&[]).is_empty());
    assert!(steps(&[(100, 1.0)]).is_empty());
    assert!(steps(&[(100, 1.0), (100, 2.0)]).is_empty());
    let without = [(100, 1.0), (300, 9.0)];
    for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            steps(&[(100, 1.0), (200, nothing), (300, 9.0)]),
            steps(&without)
        );
    }
    assert_eq!(steps(&without).len(), 1);
}

#[test]
fn the_lowest_ratio_counts_and_what_has_none_does_not() {
    assert_eq!(worst(&[Some(1.2), Some(0.9), None, Some(1.0)]), Some(1));
    assert_eq!(worst(&[None, None]), None);
    assert_eq!(worst(&[]), None);
}

#[test]
fn each_load_has_one_line_that_of_its_worst_setting() {
    let named = [
        ("own", Some(1.2)),
        ("wrk", None),
        ("own", Some(1.1)),
        ("ab", Some(0.9)),
        ("wrk", None),
        ("ab", None),
        ("own", Some(1.3)),
    ];
    assert_eq!(worst_of_each(&named), [2, 1, 3]);
    assert!(worst_of_each(&[]).is_empty());
}
