//! Who has started how many sessions at which provider, and which source rests there.
//!
//! A sliding log of starts rather than a token bucket: "at most 20 in any minute" is what a
//! provider counts, and a bucket that allows a burst passes it. The time is an argument, so that
//! clocks that jump or stand still are the caller's affair.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::limits::Limits;

/// Whether a session may start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Now; the start is entered.
    Go,
    /// Not before then.
    Wait(Timestamp),
    /// Not in this run: the budget is spent, in words.
    Spent(String),
}

/// A source that rests at a provider, because a reply asked for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rest {
    pub until: Timestamp,
    /// The reply, in words.
    pub why: String,
}

/// Starts and rests, by provider.
pub trait Ledger: Send {
    /// Asks for one session start at `provider` and enters it when it may go. With `budgets`
    /// false the hour and the day do not count (own and loopback targets).
    fn admit(&mut self, provider: &Arc<str>, limits: &Limits, budgets: bool, now: Timestamp) -> Admission;

    /// Lets `source` rest at `provider`; a longer rest that already holds stays.
    fn rest(&mut self, source: IpAddr, provider: &Arc<str>, rest: Rest);

    /// The rest that `source` keeps at `provider`.
    fn resting(&self, source: IpAddr, provider: &Arc<str>, now: Timestamp) -> Option<&Rest>;
}

/// A ledger that lives as long as the run.
#[derive(Debug, Default)]
pub struct RunLedger {
    starts: BTreeMap<Arc<str>, VecDeque<Timestamp>>,
    rests: BTreeMap<(IpAddr, Arc<str>), Rest>,
}

impl Ledger for RunLedger {
    fn admit(&mut self, provider: &Arc<str>, limits: &Limits, budgets: bool, now: Timestamp) -> Admission {
        let starts = self.starts.entry(Arc::clone(provider)).or_default();
        let day = Duration::from_hours(24);
        while starts.front().is_some_and(|&start| since(start, now) >= day) {
            starts.pop_front();
        }
        let within = |length: Duration| starts.iter().rev().take_while(|&&start| since(start, now) < length).count();
        if budgets {
            for (length, budget, name) in
                [(Duration::from_hours(1), limits.per_hour, "hour"), (day, limits.per_day, "day")]
            {
                if within(length) >= budget as usize {
                    return Admission::Spent(format!(
                        "the budget of {budget} sessions an {name} at {provider} is spent"
                    ));
                }
            }
        }
        let before = starts.len().checked_sub(limits.rate.starts as usize).map(|at| starts[at]);
        if let Some(start) = before.filter(|&start| since(start, now) < limits.rate.per) {
            return Admission::Wait(later(start, limits.rate.per));
        }
        starts.push_back(now);
        Admission::Go
    }

    fn rest(&mut self, source: IpAddr, provider: &Arc<str>, rest: Rest) {
        let kept = self.rests.entry((source, Arc::clone(provider))).or_insert_with(|| rest.clone());
        if kept.until < rest.until {
            *kept = rest;
        }
    }

    fn resting(&self, source: IpAddr, provider: &Arc<str>, now: Timestamp) -> Option<&Rest> {
        self.rests.get(&(source, Arc::clone(provider))).filter(|rest| rest.until > now)
    }
}

fn since(start: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(start)).unwrap_or_default()
}

/// The time that lies `duration` behind `at`, or the end of time.
#[must_use]
pub fn later(at: Timestamp, duration: Duration) -> Timestamp {
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.saturating_add(signed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_the_rate() {
        let limits = Limits { rate: "5/min".parse().unwrap(), ..Limits::default() };
        let (mut ledger, provider) = (RunLedger::default(), Arc::from("example.org"));
        let (mut now, mut starts) = (Timestamp::UNIX_EPOCH, Vec::new());
        while starts.len() < 40 {
            match ledger.admit(&provider, &limits, true, now) {
                Admission::Go => {
                    starts.push(now);
                    now = later(now, Duration::from_secs(starts.len() as u64 % 7));
                }
                Admission::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Admission::Spent(why) => panic!("{why}"),
            }
        }
        for window in starts.windows(6) {
            assert!(since(window[0], window[5]) >= Duration::from_mins(1), "{window:?}");
        }
    }

    #[test]
    fn budgets_are_spent_and_come_back() {
        let limits = Limits { per_hour: 3, rate: "100/s".parse().unwrap(), ..Limits::default() };
        let (mut ledger, provider, now) = (RunLedger::default(), Arc::from("example.org"), Timestamp::UNIX_EPOCH);
        for _ in 0..3 {
            assert_eq!(ledger.admit(&provider, &limits, true, now), Admission::Go);
        }
        assert!(matches!(ledger.admit(&provider, &limits, true, now), Admission::Spent(_)));
        assert_eq!(ledger.admit(&provider, &limits, false, now), Admission::Go);
        assert_eq!(ledger.admit(&provider, &limits, true, later(now, Duration::from_hours(1))), Admission::Go);
    }

    #[test]
    fn the_longer_rest_stays() {
        let (mut ledger, provider, source) =
            (RunLedger::default(), Arc::from("example.org"), "192.0.2.1".parse().unwrap());
        let rest =
            |hours| Rest { until: later(Timestamp::UNIX_EPOCH, Duration::from_hours(hours)), why: String::new() };
        ledger.rest(source, &provider, rest(24));
        ledger.rest(source, &provider, rest(2));
        let at = |hours| later(Timestamp::UNIX_EPOCH, Duration::from_hours(hours));
        assert!(ledger.resting(source, &provider, at(23)).is_some());
        assert!(ledger.resting(source, &provider, at(24)).is_none());
    }
}
