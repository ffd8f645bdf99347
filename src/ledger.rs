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

mod shared;

pub use shared::Shared;

/// Whether a session may start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Now; the start is entered.
    Go,
    /// Not before then.
    Wait(Timestamp),
    /// Not in this run, and why: the source rests, or the budget is spent.
    Skip(String),
}

/// On whose ground a provider stands; the more careful of two is the greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ground {
    /// Wholly on this host: a test's.
    Loopback,
    /// The operator says that it is their own.
    Own,
    /// Somebody else's: ceilings and budgets hold.
    Foreign,
}

/// Under what starts and rests are entered.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Account {
    /// The registrable domain of the exchangers.
    pub provider: Arc<str>,
    /// The port of a provider on [`Ground::Loopback`]: a test bears a real provider's name, and
    /// another one may listen on every port. What it is asked is not what the real one is asked.
    pub loopback: Option<u16>,
}

/// One session that would start.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub run: &'a str,
    pub account: &'a Account,
    pub ground: Ground,
    pub address: IpAddr,
    /// The source, as the other side sees it.
    pub source: Option<IpAddr>,
    /// It is its cell's first: rests that this very run has found do not hold it back.
    pub first: bool,
    pub ignore_rest: bool,
    pub limits: &'a Limits,
    pub now: Timestamp,
}

/// A source that rests at a provider, because a reply asked for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rest {
    pub until: Timestamp,
    /// The reply, in words.
    pub why: String,
}

/// Starts and rests, by account.
pub trait Ledger: Send {
    /// Asks for one session start and enters it when it may go.
    fn admit(&mut self, ask: &Ask<'_>) -> Admission;

    /// Takes note that a session which was admitted is over.
    fn ended(&mut self, _account: &Account, _address: IpAddr, _now: Timestamp) {}

    /// Says that this process is still there; to be called every [`RENEWAL`] while sessions are
    /// open, as nobody waits for the sessions of a process that was killed.
    fn renew(&mut self, _now: Timestamp) {}

    /// Lets `source` rest; a longer rest that already holds stays.
    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp);

    /// How many sessions have started there since then, as far as is known here.
    fn starts(&self, _account: &Account, _since: Timestamp) -> u64 {
        0
    }

    /// Why nothing is kept beyond this run, where it should be.
    fn unkept(&self) -> Option<&str> {
        None
    }
}

/// How often [`Ledger::renew`] is to be called.
pub const RENEWAL: Duration = Duration::from_secs(5);

/// A ledger that lives as long as the run.
#[derive(Debug, Default)]
pub struct RunLedger {
    /// In the order of time.
    starts: BTreeMap<Account, VecDeque<Timestamp>>,
    /// The longest window that anybody asks about.
    longest: BTreeMap<Account, Duration>,
    /// By the run that found them.
    rests: BTreeMap<(Account, IpAddr), BTreeMap<Arc<str>, Rest>>,
}

impl Ledger for RunLedger {
    fn admit(&mut self, ask: &Ask<'_>) -> Admission {
        let admission = self.look(ask);
        if admission == Admission::Go {
            // On our own ground there are no budgets, and nobody asks beyond the rate's window.
            let kept = if ask.ground == Ground::Foreign { DAY } else { ask.limits.rate.per };
            let longest = self.longest.get(ask.account).map_or(kept, |longest| kept.max(*longest));
            if self.longest.get(ask.account) != Some(&longest) {
                self.longest.insert(ask.account.clone(), longest);
            }
            self.keep(ask.account, ask.now, ask.now, longest);
        }
        admission
    }

    fn starts(&self, account: &Account, since: Timestamp) -> u64 {
        let log = self.starts.get(account);
        log.map_or(0, |log| (log.len() - log.partition_point(|&start| start <= since)) as u64)
    }

    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp) {
        let rests = self.rests.entry((account.clone(), source)).or_default();
        rests.retain(|_, kept| kept.until > now);
        let kept = rests.entry(run.into()).or_insert_with(|| rest.clone());
        if kept.until < rest.until {
            *kept = rest;
        }
    }
}

impl RunLedger {
    /// Whether the session may start; nothing is entered.
    #[must_use]
    pub fn look(&self, ask: &Ask<'_>) -> Admission {
        let Ask { account, limits, now, .. } = *ask;
        let provider = &account.provider;
        if let Some((source, Rest { until, why })) = self.resting(ask) {
            return Admission::Skip(format!("{source} rests at {provider} until {until:.0}: {why}"));
        }
        // A window of this length that holds so many starts is full until its first one leaves it.
        let full = |starts: u32, length: Duration| {
            if starts == 0 {
                return Some(Timestamp::MAX);
            }
            let log = self.starts.get(account)?;
            let first = *log.get(log.len().checked_sub(starts as usize)?)?;
            Some(later(first, window(length))).filter(|&until| until > now)
        };
        if ask.ground == Ground::Foreign {
            for (length, budget, name) in [(HOUR, limits.per_hour, "an hour"), (DAY, limits.per_day, "a day")] {
                if let Some(until) = full(budget, length) {
                    return Admission::Skip(format!(
                        "the budget of {budget} sessions {name} at {provider} is spent until {until:.0}"
                    ));
                }
            }
        }
        match full(limits.rate.starts, limits.rate.per) {
            Some(until) => Admission::Wait(until),
            None => Admission::Go,
        }
    }

    /// Enters a start, this run's or another's, and forgets those that are older than a day.
    pub fn enter(&mut self, account: &Account, start: Timestamp, now: Timestamp) {
        self.keep(account, start, now, DAY);
    }

    fn keep(&mut self, account: &Account, start: Timestamp, now: Timestamp, kept: Duration) {
        let log = match self.starts.get_mut(account) {
            Some(log) => log,
            None => self.starts.entry(account.clone()).or_default(),
        };
        while log.front().is_some_and(|&first| later(first, window(kept)) <= now) {
            log.pop_front();
        }
        let at = log.partition_point(|&other| other <= start);
        log.insert(at, start);
    }

    /// The longest rest that holds the session back.
    fn resting(&self, ask: &Ask<'_>) -> Option<(IpAddr, &Rest)> {
        let source = ask.source.filter(|_| !ask.ignore_rest)?;
        let rests = self.rests.get(&(ask.account.clone(), source))?;
        let holds = |run: &str| if run == ask.run { !ask.first } else { ask.ground != Ground::Loopback };
        let held = rests.iter().filter(|(run, rest)| rest.until > ask.now && holds(run));
        held.map(|(_, rest)| (source, rest)).max_by_key(|(_, rest)| rest.until)
    }
}

/// Until when a session was held back, of one whose record says so in the words of
/// [`Admission::Skip`].
#[must_use]
pub fn held_until(detail: &str) -> Option<Timestamp> {
    detail.split_once(" until ")?.1.get(.."2026-11-24T10:00:00Z".len())?.parse().ok()
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// How long a start counts in a window of that length: a little longer. Starts are entered as they
/// leave, the provider counts them as they arrive, and not all are on the way for equally long.
#[must_use]
pub fn window(length: Duration) -> Duration {
    length + (length / 50).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

/// How long a start is kept.
pub const KEPT: Duration = DAY.saturating_add(Duration::from_secs(1));

/// The time that lies `duration` behind `at`, or the end of time.
#[must_use]
pub fn later(at: Timestamp, duration: Duration) -> Timestamp {
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.saturating_add(signed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked again and again, at any time and in any run.
    struct Asking {
        account: Account,
        limits: Limits,
        ground: Ground,
    }

    impl Asking {
        fn new(ground: Ground, limits: Limits) -> Self {
            let loopback = (ground == Ground::Loopback).then_some(2525);
            Self { account: Account { provider: "example.org".into(), loopback }, limits, ground }
        }

        fn ask<'a>(&'a self, run: &'a str, first: bool, now: Timestamp) -> Ask<'a> {
            let (account, ground, limits) = (&self.account, self.ground, &self.limits);
            let address = IpAddr::from([198, 51, 100, 1]);
            Ask { run, account, ground, address, source: Some(SOURCE), first, ignore_rest: false, limits, now }
        }
    }

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(after: Duration) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, after)
    }

    fn hours(hours: u64) -> Timestamp {
        at(Duration::from_hours(hours))
    }

    #[test]
    fn no_window_holds_more_than_the_rate() {
        let limits = Limits { rate: "5/min".parse().unwrap(), ..Limits::default() };
        let asking = Asking::new(Ground::Foreign, limits);
        let (mut ledger, mut now, mut starts) = (RunLedger::default(), hours(0), Vec::new());
        while starts.len() < 40 {
            match ledger.admit(&asking.ask("a", true, now)) {
                Admission::Go => {
                    starts.push(now);
                    now = later(now, Duration::from_secs(starts.len() as u64 % 7));
                }
                Admission::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Admission::Skip(why) => panic!("{why}"),
            }
        }
        for six in starts.windows(6) {
            assert!(six[5] >= later(six[0], Duration::from_mins(1)), "{six:?}");
        }
    }

    #[test]
    fn starts_entered_out_of_order_count_all_the_same() {
        let limits = Limits { rate: "2/min".parse().unwrap(), ..Limits::default() };
        let (asking, mut ledger) = (Asking::new(Ground::Own, limits), RunLedger::default());
        let second = |n| at(Duration::from_secs(n));
        for start in [40, 10, 30] {
            ledger.enter(&asking.account, second(start), second(41));
        }
        let until = later(second(30), window(Duration::from_mins(1)));
        assert_eq!(ledger.look(&asking.ask("a", true, second(50))), Admission::Wait(until));
    }

    #[test]
    fn budgets_are_spent_and_come_back() {
        let limits = Limits { per_hour: 3, rate: "100/s".parse().unwrap(), ..Limits::default() };
        let foreign = Asking::new(Ground::Foreign, limits.clone());
        let mut ledger = RunLedger::default();
        for _ in 0..3 {
            assert_eq!(ledger.admit(&foreign.ask("a", true, hours(0))), Admission::Go);
        }
        let back = later(hours(0), window(HOUR));
        let spent = "the budget of 3 sessions an hour at example.org is spent until 1970-01-01T01:00:01Z";
        assert_eq!(ledger.admit(&foreign.ask("a", true, hours(0))), Admission::Skip(spent.to_owned()));
        let own = Asking::new(Ground::Own, limits);
        assert_eq!(ledger.look(&own.ask("a", true, hours(0))), Admission::Go);
        assert_eq!(ledger.admit(&foreign.ask("a", true, back)), Admission::Go);
    }

    #[test]
    fn the_longer_rest_stays() {
        let (asking, mut ledger) = (Asking::new(Ground::Foreign, Limits::default()), RunLedger::default());
        for length in [24, 2] {
            let rest = Rest { until: hours(length), why: "no".to_owned() };
            ledger.rest("a", &asking.account, SOURCE, rest, hours(0));
        }
        let skip = "192.0.2.1 rests at example.org until 1970-01-02T00:00:00Z: no";
        assert_eq!(held_until(skip), "1970-01-02T00:00:00Z".parse().ok());
        assert_eq!(ledger.look(&asking.ask("a", false, hours(23))), Admission::Skip(skip.to_owned()));
        assert_eq!(ledger.look(&asking.ask("a", false, hours(24))), Admission::Go);
    }

    #[test]
    fn a_rest_leaves_the_run_that_found_it_one_session_a_cell() {
        // By ground: another run's first session and further ones, the same run's first and further.
        let cases = [
            (Ground::Foreign, [true, true, false, true]),
            (Ground::Own, [true, true, false, true]),
            (Ground::Loopback, [false, false, false, true]),
        ];
        for (ground, rests) in cases {
            let (asking, mut ledger) = (Asking::new(ground, Limits::default()), RunLedger::default());
            let rest = Rest { until: hours(2), why: "no".to_owned() };
            ledger.rest("a", &asking.account, SOURCE, rest, hours(0));
            let asked = [("b", true), ("b", false), ("a", true), ("a", false)];
            let found = asked.map(|(run, first)| ledger.look(&asking.ask(run, first, hours(1))) != Admission::Go);
            assert_eq!(found, rests, "{ground:?}");
            let ask = Ask { ignore_rest: true, ..asking.ask("b", false, hours(1)) };
            assert_eq!(ledger.look(&ask), Admission::Go);
        }
    }
}
