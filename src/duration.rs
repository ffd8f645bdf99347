//! Durations as people write them: humantime's spelling, without its two traps.
//!
//! humantime reads `1M` as a month, one shift key away from `1m`, and knows months and years, which
//! no timeout, pace or schedule of a prober is measured in. Both are refused here, so that there is
//! one place that says what a duration is.

use std::fmt;
use std::time::Duration;

/// Reads a duration such as `90s`, `1m 30s`, `1.5s` or `0`.
///
/// # Errors
///
/// No number, no unit, an unknown unit, months, years, or more than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let error = |wanted| InvalidDuration { found: text.chars().take(40).collect(), wanted };
    let mut units = text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
    if let Some(unit) =
        units.find(|unit| matches!(*unit, "M" | "month" | "months" | "y" | "year" | "years" | "yr" | "yrs"))
    {
        return Err(error(if unit == "M" {
            "m for minutes; months are not taken"
        } else {
            "days at most, not months or years"
        }));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(error("3650 days at most")),
        Err(humantime::DurationError::UnknownUnit { unit, .. }) if unit.is_empty() => {
            Err(error("a unit behind the number: ms, s, m, h or d"))
        }
        Err(_) => Err(error("a number and a unit, as in 500ms, 30s, 5m, 1h 30m or 2d")),
    }
}

/// The same, for what makes no sense without time: a timeout, a period.
///
/// # Errors
///
/// [`parse`]'s, and a duration of nothing.
pub fn parse_positive(text: &str) -> Result<Duration, InvalidDuration> {
    match parse(text)? {
        Duration::ZERO => Err(InvalidDuration { found: text.to_owned(), wanted: "more than nothing" }),
        duration => Ok(duration),
    }
}

/// Ten years: sums of a few of these never leave the range of a clock.
pub const LONGEST: Duration = Duration::from_hours(3650 * 24);

/// A text that is no duration, or none that is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidDuration {
    found: String,
    wanted: &'static str,
}

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no duration: wanted {}", self.found, self.wanted)
    }
}

impl std::error::Error for InvalidDuration {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_not() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("1m 30s", 90_000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("1week", 604_800_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, wanted) in [
            ("1M", "m for minutes"),
            ("1M30s", "m for minutes"),
            ("2 months", "months or years"),
            ("1y", "months or years"),
            ("90", "a unit"),
            ("5d 3", "a unit"),
            ("", "a number"),
            ("-5s", "a number"),
            ("1e3s", "a number"),
            ("5 fortnights", "a number"),
            ("10000d", "3650 days"),
            ("99999999999999999999s", "a number"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text}: {message}");
        }
        assert!(parse_positive("0s").is_err());
        assert!(parse_positive("1ms").is_ok());
    }
}
