//! A crontab's five fields, on the clock of a time zone.
//!
//! The search is croner's, which knows what cron does when the clock is put forward or back; what
//! stands here is how it reads and writes our times.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use crate::ledger::later;

/// Minute, hour, day, month and weekday, as in a crontab.
#[derive(Clone)]
pub struct Cron {
    text: String,
    pattern: Box<croner::Cron>,
}

impl Cron {
    /// The first time behind `at` that the five fields allow; `None` where there is none.
    pub(super) fn after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = Wall(at.to_zoned_datetime(zone.clone()));
        self.pattern.find_next_occurrence(&from, false).ok().map(|Wall(found)| found.timestamp())
    }

    /// How many times lie within `window` at most, as far as the next eight days show; one at least.
    pub(super) fn most(&self, from: Timestamp, zone: &TimeZone, window: Duration) -> u64 {
        const SHOWN: Duration = Duration::from_hours(8 * 24);
        const MOST: usize = 3000;
        let (end, mut at, mut most) = (later(from, SHOWN), from, 1);
        let mut within = VecDeque::new();
        for _ in 0..MOST {
            match self.after(at, zone) {
                Some(next) if next <= end => at = next,
                _ => break,
            }
            while within.front().is_some_and(|&first| later(first, window) <= at) {
                within.pop_front();
            }
            within.push_back(at);
            most = most.max(within.len() as u64);
        }
        most
    }
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        let error = |why: String| InvalidCron { found: text.chars().take(80).collect(), why };
        let field = |field: &str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*/,-".contains(&b));
        if text.len() > 200 || text.split(' ').filter(|f| !f.is_empty()).count() != 5 || !text.split(' ').all(field) {
            return Err(error(String::new()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        match parser.parse(text) {
            Ok(pattern) => Ok(Self { text: text.to_owned(), pattern: Box::new(pattern) }),
            Err(e) => Err(error(format!(" ({})", e.to_string().to_lowercase().trim_end_matches('.')))),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

/// A text that is no cron schedule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidCron {
    found: String,
    why: String,
}

impl fmt::Display for InvalidCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, why } = self;
        write!(f, "{found:?} is no cron schedule{why}: wanted five fields, as in \"*/15 * * * *\"")
    }
}

impl std::error::Error for InvalidCron {}

/// A moment on the wall of its zone, as croner reads it.
#[derive(Clone)]
struct Wall(ZonedDateTime);

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        let part = |n: i8| u32::from(n.unsigned_abs());
        // jiff has checked that there is such a day and such a time.
        let date = CivilDate::from_parts_unchecked(i32::from(at.year()), part(at.month()), part(at.day()));
        CivilDateTime::new(date, CivilTime::from_parts_unchecked(part(at.hour()), part(at.minute()), part(at.second())))
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(u32::from(self.0.weekday().to_sunday_zero_offset().unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let found = self.0.time_zone().to_ambiguous_zoned_datetime(read(civil).ok_or(CronError::InvalidDate)?);
        let wall = |zoned: Result<ZonedDateTime, jiff::Error>| zoned.map(Wall).map_err(|_| CronError::InvalidTime);
        Ok(match found.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(wall(found.unambiguous())?),
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(wall(found.clone().earlier())?, wall(found.later())?),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

fn read(civil: CivilDateTime) -> Option<DateTime> {
    let part = |n: u32| i8::try_from(n).ok();
    let (month, day) = (part(civil.month())?, part(civil.day())?);
    let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
    DateTime::new(i16::try_from(civil.year()).ok()?, month, day, hour, minute, second, 0).ok()
}
