//! Which of several ratios counts: the worst. What has none counts only where there is no other.

/// The place of the lowest ratio.
pub fn worst(ratios: &[Option<f64>]) -> Option<usize> {
    let known = ratios.iter().enumerate();
    let known = known.filter_map(|(place, ratio)| Some((place, (*ratio)?)));
    let lowest = known.min_by(|one, other| one.1.total_cmp(&other.1));
    lowest.map(|(place, _)| place)
}

/// For each name, in their order, the place of its lowest ratio, or else of its first one.
pub fn worst_of_each(named: &[(&str, Option<f64>)]) -> Vec<usize> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in named {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let of_name = |name: &str| {
        let has_it = |place: &usize| named[*place].0 == name;
        let places: Vec<usize> = (0..named.len()).filter(has_it).collect();
        let ratios: Vec<_> = places.iter().map(|&place| named[place].1).collect();
        places[worst(&ratios).unwrap_or(0)]
    };
    names.into_iter().map(of_name).collect()
}
