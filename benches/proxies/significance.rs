//! Whether a difference is more than chance: Wilcoxon's signed-rank test, exact, on pairs that were
//! measured right after each other.

/// The probability that pairs of two equal candidates differ as much as these, in either direction. `None`
/// when no pair differs.
///
/// `ratios` are the ratios of the pairs: 1 is no difference, and 2 is as far from it as one half.
pub fn chance(ratios: &[f64]) -> Option<f64> {
    let mut differences: Vec<f64> = ratios
        .iter()
        .map(|ratio| ratio.ln())
        .filter(|difference| difference.is_finite() && *difference != 0.0)
        .collect();
    if differences.is_empty() {
        return None;
    }
    differences.sort_unstable_by(|one, other| one.abs().total_cmp(&other.abs()));
    let ranks = doubled_ranks(&differences);
    let better = differences.iter().zip(&ranks);
    let better = better.filter(|(difference, _)| **difference > 0.0);
    let better: usize = better.map(|(_, rank)| rank).sum();
    let likely = probabilities(&ranks);
    let at_most: f64 = likely[..=better].iter().sum();
    let at_least: f64 = likely[better..].iter().sum();
    Some((2.0 * at_most.min(at_least)).min(1.0))
}

/// Twice the rank of each, from the smallest. Equal ones share the mean of their ranks, so that a rank can
/// end in one half.
fn doubled_ranks(sorted: &[f64]) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    let is_equal = |one: &f64, other: &f64| one.abs() == other.abs();
    for equal in sorted.chunk_by(is_equal) {
        let first = ranks.len() + 1;
        let last = ranks.len() + equal.len();
        ranks.extend(equal.iter().map(|_| first + last));
    }
    ranks
}

/// The probability of each sum of some of the ranks, when each counts or does not count with the same
/// probability.
fn probabilities(ranks: &[usize]) -> Vec<f64> {
    let mut likely = vec![0.0; ranks.iter().sum::<usize>() + 1];
    likely[0] = 1.0;
    for &rank in ranks {
        for sum in (0..likely.len()).rev() {
            let without = likely[sum];
            let with = sum.checked_sub(rank).map_or(0.0, |rest| likely[rest]);
            likely[sum] = (without + with) / 2.0;
        }
    }
    likely
}
