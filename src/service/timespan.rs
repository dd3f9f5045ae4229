//! Times as systemd writes them: `5s`, `1min 30s`, `500ms`, `infinity`.
//!
//! Source: systemd.time(7), "Parsing time spans".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::printable::Printable;

/// A time span of an option or a unit file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeSpan {
    /// A duration.
    Finite(Duration),
    /// `infinity`. Sorts after every duration.
    Infinity,
}

/// What is wrong with a text that should be a time span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "“{}” is not a time: {reason} (examples: 5s, 1min 30s, 500ms, infinity)",
    Printable(text)
)]
pub struct TimeSpanError {
    text: String,
    reason: &'static str,
}

impl TimeSpan {
    /// The duration; `None` for [`Self::Infinity`].
    pub fn finite(self) -> Option<Duration> {
        match self {
            Self::Finite(duration) => Some(duration),
            Self::Infinity => None,
        }
    }
}

/// Reads a limit, for an option: a time, and not 0. The error is a sentence.
pub(crate) fn limit(text: &str) -> Result<TimeSpan, String> {
    match text.parse::<TimeSpan>() {
        Ok(TimeSpan::Finite(Duration::ZERO)) => Err(
            "0 would be over before anything can happen: write infinity for no limit".to_owned(),
        ),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// The microseconds of a unit, by the names in systemd.time(7).
fn unit_micros(name: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    Some(match name {
        "" | "s" | "sec" | "second" | "seconds" => SECOND,
        "us" | "usec" | "µs" | "μs" => 1,
        "ms" | "msec" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => 86_400 * SECOND,
        "w" | "week" | "weeks" => 7 * 86_400 * SECOND,
        "M" | "month" | "months" => 2_629_800 * SECOND,
        "y" | "year" | "years" => 31_557_600 * SECOND,
        _ => return None,
    })
}

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(text: &str) -> Result<Self, TimeSpanError> {
        let fail = |reason| TimeSpanError {
            text: text.to_owned(),
            reason,
        };
        let mut rest = text.trim();
        if rest == "infinity" {
            return Ok(Self::Infinity);
        }
        if rest.is_empty() {
            return Err(fail("it is empty"));
        }
        let too_long = || fail("it is too long");
        let mut micros: u64 = 0;
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
                return Err(fail("a number was expected"));
            }
            let tail = tail.trim_start();
            let end = tail
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(tail.len());
            let unit = unit_micros(&tail[..end]).ok_or_else(|| fail("its unit is unknown"))?;
            let whole: u64 = match whole {
                "" => 0,
                digits => digits.parse().map_err(|_| too_long())?,
            };
            micros = whole
                .checked_mul(unit)
                .and_then(|us| us.checked_add(fraction_micros(fraction, unit)))
                .and_then(|us| us.checked_add(micros))
                .ok_or_else(too_long)?;
            rest = tail[end..].trim_start();
        }
        Ok(Self::Finite(Duration::from_micros(micros)))
    }
}

/// The microseconds of the digits after a decimal point.
fn fraction_micros(digits: &str, unit: u64) -> u64 {
    // A year has 3.2e13 µs: digits beyond the fifteenth are below a microsecond in any unit.
    let digits = &digits[..digits.len().min(15)];
    let value: u128 = digits.parse().unwrap_or(0);
    let scaled = value * u128::from(unit) / 10u128.pow(digits.len() as u32);
    scaled as u64 // below one unit, which fits
}

impl fmt::Display for TimeSpan {
    /// As systemd does, in the largest units that fit: `1min 30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Finite(duration) = self else {
            return f.write_str("infinity");
        };
        let mut left = duration.as_micros();
        if left == 0 {
            return f.write_str("0");
        }
        let mut separator = "";
        for name in ["w", "d", "h", "min", "s", "ms", "us"] {
            let size = unit_micros(name).map(u128::from);
            if let Some(size) = size.filter(|size| left >= *size) {
                write!(f, "{separator}{}{name}", left / size)?;
                left %= size;
                separator = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_read_as_systemd_reads_them() {
        for (text, micros) in [
            ("5", 5_000_000),
            ("0", 0),
            ("2 h", 7_200_000_000),
            ("2hours", 7_200_000_000),
            ("1min 30s", 90_000_000),
            ("1min30s", 90_000_000),
            ("1.5s", 1_500_000),
            (".5s", 500_000),
            (" 500ms ", 500_000),
            ("7µs", 7),
            ("55s500ms", 55_500_000),
        ] {
            let span = TimeSpan::Finite(Duration::from_micros(micros));
            assert_eq!(text.parse(), Ok(span), "{text}");
        }
        assert_eq!("infinity".parse(), Ok(TimeSpan::Infinity));
    }

    #[test]
    fn what_is_not_a_time_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("-5s", "number"),
            ("five", "number"),
            ("5 parsecs", "unit"),
            ("1.2.3s", "number"),
            ("99999999999999999999s", "too long"),
            ("18446744073709551615y", "too long"),
        ] {
            let error = text.parse::<TimeSpan>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_limit_of_no_time_is_refused() {
        for text in ["0", "0s", "0.1us"] {
            let error = limit(text).unwrap_err();
            assert!(error.contains("write infinity"), "{text}");
        }
        assert!(limit("soon").unwrap_err().contains("number"));
        assert_eq!(limit("infinity"), Ok(TimeSpan::Infinity));
        assert!(limit("1us").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(us in 0u64..1_000_000_000_000_000) {
            let span = TimeSpan::Finite(Duration::from_micros(us));
            prop_assert_eq!(span.to_string().parse::<TimeSpan>(), Ok(span));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}|[0-9. a-zµ]{0,30}") {
            let _ = text.parse::<TimeSpan>();
        }
    }
}
