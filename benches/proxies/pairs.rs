//! The order of a round: ours is measured right beside each of the others, so that a machine that becomes
//! faster or slower meanwhile changes both of a pair.

/// The candidates of a round, in groups. Ours is in the middle of its group, and makes a pair with the one
/// before it and with the one after it.
///
/// Every second round is the reverse of the one before. So each of a pair is the first one as often as the
/// second one.
pub fn groups(ours: Option<usize>, others: &[usize], round: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = others
        .chunks(2)
        .map(|pair| {
            let (before, after) = pair.split_at(1);
            before
                .iter()
                .copied()
                .chain(ours)
                .chain(after.iter().copied())
                .collect()
        })
        .collect();
    if others.is_empty() {
        groups.extend(ours.map(|ours| vec![ours]));
    }
    if round % 2 == 1 {
        groups.reverse();
        groups.iter_mut().for_each(|group| group.reverse());
    }
    groups
}
