//! Moments for people, in UTC. Pure.

/// A moment, in microseconds since 1970, as date and time of day in UTC.
pub fn moment(usec: u64) -> String {
    let (year, month, day) = date(usec / 1_000_000 / 86_400);
    format!("{year:04}-{month:02}-{day:02} {}", time_of_day(usec))
}

/// The time of day of a moment, in UTC.
pub fn time_of_day(usec: u64) -> String {
    let seconds = usec / 1_000_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

/// The date `days` after 1970-01-01 in the Gregorian calendar. Counting years from March
/// puts the leap day at the end, which makes the months regular: 153 days in every five.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097; // 400 years each
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(seconds * 1_000_000), text);
        }
        assert!(!moment(u64::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn every_day_has_a_date_after_the_one_before(day in 0u64..1_000_000) {
            prop_assert!(date(day) < date(day + 1));
        }
    }
}
