//! What keeps a prober polite: depth is the plan's, rates and budgets are here.
//!
//! A limit is a promise that holds in any window of its length, not on average: the provider's own
//! count must never pass it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often and how many at once, per provider unless said otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Attempts per cell.
    pub attempts: u32,
    /// From start to start of one cell's attempts.
    pub pace: Duration,
    /// Sessions at once per address.
    pub per_address: usize,
    /// Sessions at once per provider.
    pub per_provider: usize,
    /// Session starts per provider.
    pub rate: Rate,
    pub per_hour: u32,
    pub per_day: u32,
    /// No session starts later than this after the run began.
    pub max_time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 1,
            pace: Duration::from_mins(1),
            per_address: 1,
            per_provider: 2,
            rate: Rate { starts: 20, per: Duration::from_mins(1) },
            per_hour: 200,
            per_day: 1000,
            max_time: None,
        }
    }
}

impl Limits {
    /// What no flag lifts on a public target that is not the operator's own.
    pub const CEILING_PER_PROVIDER: usize = 10;
    pub const CEILING_PER_MINUTE: u32 = 60;
    pub const CEILING_PER_HOUR: u32 = 600;
    pub const CEILING_PER_DAY: u32 = 5000;

    /// The first limit that passes its ceiling, in words.
    #[must_use]
    pub fn over_ceiling(&self) -> Option<String> {
        let Rate { starts, per } = self.rate;
        let minute = Duration::from_mins(1);
        let per_minute = if per >= minute { starts } else { starts.saturating_mul(whole(minute, per)) };
        [
            ("--per-address", self.per_address as u64, Self::CEILING_PER_PROVIDER as u64, "at a time"),
            ("--per-provider", self.per_provider as u64, Self::CEILING_PER_PROVIDER as u64, "at a time"),
            ("--rate", u64::from(per_minute), u64::from(Self::CEILING_PER_MINUTE), "a minute"),
            ("--per-hour", u64::from(self.per_hour), u64::from(Self::CEILING_PER_HOUR), "an hour"),
            ("--per-day", u64::from(self.per_day), u64::from(Self::CEILING_PER_DAY), "a day"),
        ]
        .into_iter()
        .find(|(_, asked, ceiling, _)| asked > ceiling)
        .map(|(flag, asked, ceiling, unit)| {
            format!("{flag}: {asked} {unit} is over the ceiling of {ceiling} for a target that is not yours")
        })
    }
}

/// How many windows of `part` fit into `whole`, rounded up.
fn whole(whole: Duration, part: Duration) -> u32 {
    u32::try_from(whole.as_millis().div_ceil(part.as_millis().max(1))).unwrap_or(u32::MAX)
}

/// So many session starts in any window of such a length: `20/min`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub starts: u32,
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let error = || InvalidRate(text.chars().take(40).collect());
        let (starts, unit) = text.split_once('/').ok_or_else(error)?;
        let per = match unit.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_mins(1),
            "h" | "hour" => Duration::from_hours(1),
            _ => return Err(error()),
        };
        let starts = starts.trim().parse().ok().filter(|&n| n > 0).ok_or_else(error)?;
        Ok(Self { starts, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.starts)
    }
}

/// A text that is no rate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidRate(String);

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no rate: wanted N/min (or N/s, N/h), N at least 1", self.0)
    }
}

impl std::error::Error for InvalidRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_hold_from_both_sides() {
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.over_ceiling().is_some()
        };
        assert!(!with(|_| ()));
        assert!(!with(|l| l.rate = "60/min".parse().unwrap()));
        assert!(with(|l| l.rate = "61/min".parse().unwrap()));
        assert!(with(|l| l.rate = "2/s".parse().unwrap()));
        assert!(!with(|l| l.rate = "1/s".parse().unwrap()));
        assert!(!with(|l| l.per_provider = 10));
        assert!(with(|l| l.per_provider = 11));
        assert!(with(|l| l.per_hour = 601));
        assert!(with(|l| l.per_day = 5001));
        for bad in ["20", "20/fortnight", "0/min", "-1/min", "x/min"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
