//! When the rounds of a watch are due. Pure: the time, the zone and the seed are arguments.
//!
//! A round that could not start in its time is missed and counted, never made up for: what a
//! provider would see of a host that was asleep for a night must not be a night's rounds at once.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::ledger::later;

pub mod budget;
mod cron;

pub use cron::{Cron, InvalidCron};

/// How often rounds are due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum When {
    /// So long after one another, the first at once.
    Every(Duration),
    /// As in a crontab, by the clock on the wall.
    Cron(Cron),
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every {}", humantime::format_duration(*every)),
            Self::Cron(cron) => write!(f, "cron {cron}"),
        }
    }
}

/// All rounds of one probe.
#[derive(Clone, Debug)]
pub struct Timetable {
    when: When,
    jitter: Duration,
    seed: u64,
    zone: TimeZone,
    begun: Timestamp,
}

/// One round in the timetable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// Counts from 0, those that were missed too.
    pub number: u64,
    /// When the timetable has it.
    pub due: Timestamp,
    /// The same and its jitter.
    pub start: Timestamp,
}

/// The round to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Next {
    pub slot: Slot,
    /// How many before it were missed; [`MOST_COUNTED`] stands for that many or more.
    pub missed: u64,
}

/// So many missed rounds are counted, and no more.
pub const MOST_COUNTED: u64 = 10_000;

impl Timetable {
    /// A timetable that begins at `begun`. No round starts later than `jitter` after it is due;
    /// how much later, `seed` and the round's number say. `zone` is where a cron's clock hangs.
    #[must_use]
    pub fn new(when: When, jitter: Duration, seed: u64, zone: TimeZone, begun: Timestamp) -> Self {
        Self { when, jitter, seed, zone, begun }
    }

    /// The first round; `None` for a cron that never comes.
    #[must_use]
    pub fn first(&self) -> Option<Slot> {
        let due = match &self.when {
            When::Every(_) => self.begun,
            When::Cron(cron) => cron.after(self.begun, &self.zone)?,
        };
        Some(self.slot(0, due))
    }

    /// The first round behind `last` that does not have to start before `now`.
    #[must_use]
    pub fn next(&self, last: &Slot, now: Timestamp) -> Option<Next> {
        let mut next = self.following(last)?;
        let mut missed = 0;
        if let When::Every(every) = self.when {
            // As many as have surely gone by, at once: a host can be asleep for longer than it
            // should take to count.
            let late = Duration::try_from(now.duration_since(next.start)).unwrap_or_default();
            missed = u64::try_from(late.saturating_sub(self.jitter).as_nanos() / every.as_nanos().max(1))
                .unwrap_or_default();
            next = self.slot(next.number + missed, times(next.due, every, missed));
        }
        while next.start < now {
            missed += 1;
            if missed >= MOST_COUNTED && matches!(self.when, When::Cron(_)) {
                let When::Cron(cron) = &self.when else { break };
                next = self.slot(next.number + 1, cron.after(now, &self.zone)?);
                break;
            }
            next = self.following(&next)?;
        }
        Some(Next { slot: next, missed: missed.min(MOST_COUNTED) })
    }

    /// Whether the clock was put back so far that the round is not to be waited for: with an interval
    /// no round is ever further ahead than that.
    #[must_use]
    pub fn is_astray(&self, slot: &Slot, now: Timestamp) -> bool {
        matches!(self.when, When::Every(every) if slot.due > later(now, every))
    }

    /// How many rounds are due within `window` at most.
    #[must_use]
    pub fn most(&self, window: Duration) -> u64 {
        match &self.when {
            When::Every(every) => {
                u64::try_from(window.as_nanos().div_ceil(every.as_nanos().max(1))).unwrap_or(u64::MAX).max(1)
            }
            When::Cron(cron) => cron.most(self.begun, &self.zone, window),
        }
    }

    #[must_use]
    pub fn when(&self) -> &When {
        &self.when
    }

    fn following(&self, last: &Slot) -> Option<Slot> {
        let due = match &self.when {
            When::Every(every) => later(last.due, *every),
            When::Cron(cron) => cron.after(last.due, &self.zone)?,
        };
        Some(self.slot(last.number + 1, due))
    }

    fn slot(&self, number: u64, due: Timestamp) -> Slot {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(number);
        let late = if self.jitter.is_zero() { Duration::ZERO } else { self.jitter.mul_f64(rng.random()) };
        Slot { number, due, start: later(due, late) }
    }
}

/// `at`, so many times `step` later.
fn times(at: Timestamp, step: Duration, count: u64) -> Timestamp {
    let step = SignedDuration::try_from(step).unwrap_or(SignedDuration::MAX);
    let all = i32::try_from(count).ok().and_then(|count| step.checked_mul(count));
    all.and_then(|all| at.checked_add(all).ok()).unwrap_or(Timestamp::MAX)
}

/// A seed of its own for each probe of a watch, from the watch's and the probe's name (FNV-1a).
#[must_use]
pub fn seed(watch: u64, name: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(watch ^ 0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn every(every: u64, jitter: u64, seed: u64) -> Timetable {
        let seconds = Duration::from_secs;
        Timetable::new(When::Every(seconds(every)), seconds(jitter), seed, TimeZone::UTC, at("2026-11-24T10:00:00Z"))
    }

    fn cron(text: &str, zone: &str, begun: &str) -> Timetable {
        let zone = TimeZone::posix(zone).unwrap();
        Timetable::new(When::Cron(text.parse().unwrap()), Duration::ZERO, 1, zone, at(begun))
    }

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    /// The starts of the first rounds, when nothing is missed.
    fn starts(table: &Timetable, count: usize) -> Vec<String> {
        let mut slots = vec![table.first().unwrap()];
        while slots.len() < count {
            let last = slots.last().unwrap();
            let next = table.next(last, last.start).unwrap();
            assert_eq!(next.missed, 0);
            slots.push(next.slot);
        }
        slots.iter().map(|slot| format!("{:.0}", slot.start)).collect()
    }

    #[test]
    fn rounds_come_when_the_schedule_says() {
        let cases: [(Timetable, &[&str]); 6] = [
            (every(900, 0, 1), &["2026-11-24T10:00:00Z", "2026-11-24T10:15:00Z", "2026-11-24T10:30:00Z"]),
            (
                cron("*/15 * * * *", "UTC0", "2026-11-24T10:00:00Z"),
                &["2026-11-24T10:15:00Z", "2026-11-24T10:30:00Z", "2026-11-24T10:45:00Z"],
            ),
            (
                cron("0 9 * * mon-fri", BERLIN, "2026-11-27T07:00:00Z"),
                &["2026-11-27T08:00:00Z", "2026-11-30T08:00:00Z"],
            ),
            // Summer time begins: half past two does not exist on the 29th and is taken at three.
            (
                cron("30 2 * * *", BERLIN, "2026-03-28T00:00:00Z"),
                &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            // It ends: half past two comes twice on the 25th and counts once.
            (
                cron("30 2 * * *", BERLIN, "2026-10-24T00:00:00Z"),
                &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            (cron("0 0 29 2 *", "UTC0", "2026-11-24T10:00:00Z"), &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ];
        for (table, wanted) in cases {
            assert_eq!(starts(&table, wanted.len()), wanted, "{}", table.when);
        }
        assert_eq!(cron("0 0 30 2 *", "UTC0", "2026-11-24T10:00:00Z").first(), None);
    }

    #[test]
    fn what_was_missed_is_counted_and_not_made_up_for() {
        let cases = [
            // The schedule, when the round before was over, the round that comes, those missed.
            (every(60, 0, 1), "2026-11-24T10:00:59Z", "2026-11-24T10:01:00Z", 0),
            (every(60, 0, 1), "2026-11-24T10:01:00Z", "2026-11-24T10:01:00Z", 0),
            (every(60, 0, 1), "2026-11-24T10:01:01Z", "2026-11-24T10:02:00Z", 1),
            (every(60, 0, 1), "2026-11-24T18:00:30Z", "2026-11-24T18:01:00Z", 480),
            (every(60, 0, 1), "2027-11-24T10:00:30Z", "2027-11-24T10:01:00Z", MOST_COUNTED),
            (cron("* * * * *", "UTC0", "2026-11-24T09:59:00Z"), "2026-11-24T18:00:30Z", "2026-11-24T18:01:00Z", 480),
            (
                cron("* * * * *", "UTC0", "2026-11-24T09:59:00Z"),
                "2027-11-24T10:00:30Z",
                "2027-11-24T10:01:00Z",
                MOST_COUNTED,
            ),
        ];
        for (table, now, start, missed) in cases {
            let next = table.next(&table.first().unwrap(), at(now)).unwrap();
            assert_eq!((next.slot.start, next.missed), (at(start), missed), "{} at {now}", table.when);
        }
    }

    #[test]
    fn the_most_that_a_window_holds() {
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        let cases = [
            (every(900, 0, 1), 4, 96),
            (every(7 * 60, 0, 1), 9, 206),
            (every(7200, 0, 1), 1, 12),
            (cron("*/15 * * * *", "UTC0", "2026-11-24T10:05:00Z"), 4, 96),
            (cron("*/10 8-9 * * mon", "UTC0", "2026-11-24T10:05:00Z"), 6, 12),
            (cron("0 0 29 2 *", "UTC0", "2026-11-24T10:05:00Z"), 1, 1),
            (cron("* * * * *", "UTC0", "2026-11-24T10:05:00Z"), 60, 1440),
        ];
        for (table, an_hour, a_day) in cases {
            assert_eq!((table.most(hour), table.most(day)), (an_hour, a_day), "{}", table.when);
        }
    }

    proptest! {
        #[test]
        fn no_round_starts_early_late_or_twice(
            period in 1_u64..4000, part in 0_u64..100, seed in any::<u64>(), lasts in prop::collection::vec(0_u64..9000, 1..40),
        ) {
            let jitter = period * part / 100;
            let table = every(period, jitter, seed);
            let mut slot = table.first().unwrap();
            let mut now = slot.start;
            for round in lasts {
                now = later(now, Duration::from_secs(round));
                let next = table.next(&slot, now).unwrap();
                prop_assert!(next.slot.start >= now);
                prop_assert_eq!(next.slot.number, slot.number + 1 + next.missed);
                let due = times(table.begun, Duration::from_secs(period), next.slot.number);
                prop_assert_eq!(next.slot.due, due);
                prop_assert!((due..=later(due, Duration::from_secs(jitter))).contains(&next.slot.start));
                // None that could still have been held was passed over.
                if next.missed > 0 {
                    let before = table.slot(next.slot.number - 1, times(table.begun, Duration::from_secs(period), next.slot.number - 1));
                    prop_assert!(before.start < now);
                }
                slot = next.slot;
                now = slot.start;
            }
        }
    }

    #[test]
    fn a_clock_that_was_put_back_leads_a_round_astray() {
        let table = every(60, 0, 1);
        let slot = table.next(&table.first().unwrap(), at("2026-11-24T10:00:01Z")).unwrap().slot;
        assert!(!table.is_astray(&slot, at("2026-11-24T10:00:00Z")));
        assert!(table.is_astray(&slot, at("2026-11-24T09:59:59Z")));
        let cron = cron("0 9 * * *", "UTC0", "2026-11-24T10:00:00Z");
        assert!(!cron.is_astray(&cron.first().unwrap(), at("2026-11-20T10:00:00Z")));
    }

    #[test]
    fn jitter_is_the_seeds_and_the_rounds() {
        assert_eq!(starts(&every(60, 30, 5), 9), starts(&every(60, 30, 5), 9));
        assert_ne!(starts(&every(60, 30, 5), 9), starts(&every(60, 30, 6), 9));
        assert_ne!(seed(7, "probes/aol.toml"), seed(7, "probes/gmx.toml"));
    }
}
