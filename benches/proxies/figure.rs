//! Figures as text.

/// With so many digits after the point, and separators for thousands: `94,412`, `1,234.5`.
pub fn figure(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let end = text.find('.').unwrap_or(text.len());
    let mut grouped = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && at < end && (end - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of things, as [`figure`].
pub fn count(number: usize) -> String {
    figure(number as f64, 0)
}
