//! How fast a figure grows with the number of connections (pure).

/// A figure that has grown faster than the number by this factor grows faster; less may be chance.
pub const CHANCE: f64 = 1.25;

/// From one number of connections to the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The smaller number.
    pub from: usize,
    /// The larger number.
    pub to: usize,
    /// The power of the number that the figure grows with: 1 as fast as the number, 0 not at all.
    pub power: f64,
    /// Whether it grows faster than the number.
    pub is_faster: bool,
}

/// The steps between these numbers and their figures. What is not above zero is left out, for it has no power.
pub fn steps(points: &[(usize, f64)]) -> Vec<Step> {
    let points: Vec<_> = points
        .iter()
        .filter(|(number, value)| *number > 0 && value.is_finite() && *value > 0.0)
        .collect();
    points
        .windows(2)
        .filter(|two| two[0].0 < two[1].0)
        .map(|two| {
            let ((from, before), (to, after)) = (two[0], two[1]);
            let (numbers, values) = (*to as f64 / *from as f64, after / before);
            Step {
                from: *from,
                to: *to,
                power: values.ln() / numbers.ln(),
                is_faster: values > numbers * CHANCE,
            }
        })
        .collect()
}
