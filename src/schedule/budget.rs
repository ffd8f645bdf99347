//! Whether all schedules of a watch together keep to what each provider is to be asked, in numbers
//! that a reader can follow.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::{Timetable, When};
use crate::ledger::{Account, Ground};
use crate::limits::Limits;

/// What one round of a probe takes from one provider.
#[derive(Clone, Debug)]
pub struct Take {
    pub account: Account,
    pub ground: Ground,
    /// Session starts in a round at most.
    pub sessions: u64,
    pub limits: Limits,
}

/// What a probe takes, and how often.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The probe file, or the domain.
    pub probe: &'a str,
    pub timetable: &'a Timetable,
    pub takes: &'a [Take],
}

/// A limit that the schedules pass: the arithmetic, and what would fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OverBudget {
    provider: Arc<str>,
    /// `an hour`.
    length: String,
    limit: u64,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    probe: String,
    when: When,
    sessions: u64,
    rounds: u64,
}

impl Row {
    fn sum(&self) -> u64 {
        self.sessions.saturating_mul(self.rounds)
    }
}

/// Adds up what all probes of a provider take in an hour, in a day, and in the window of its rate.
///
/// The hour and the day count on foreign ground alone; the rate counts everywhere. Where the probes
/// of a provider have different limits, the lowest holds.
///
/// # Errors
///
/// The first limit that is passed.
pub fn check(loads: &[Load<'_>]) -> Result<(), OverBudget> {
    let mut accounts: BTreeMap<&Account, Vec<(&Load<'_>, &Take)>> = BTreeMap::new();
    for load in loads {
        for take in load.takes {
            accounts.entry(&take.account).or_default().push((load, take));
        }
    }
    for (account, takes) in accounts {
        let foreign = takes.iter().any(|(_, take)| take.ground == Ground::Foreign);
        let least = |of: fn(&Limits) -> u32| takes.iter().map(|(_, take)| of(&take.limits)).min().unwrap_or(u32::MAX);
        let mut windows = Vec::new();
        if foreign {
            windows.push((Duration::from_hours(1), least(|l| l.per_hour), "an hour".to_owned()));
            windows.push((Duration::from_hours(24), least(|l| l.per_day), "a day".to_owned()));
        }
        for (length, limit, name) in windows {
            let rows: Vec<Row> = takes.iter().map(|(load, take)| row(load, take, length)).collect();
            if rows.iter().map(Row::sum).sum::<u64>() > u64::from(limit) {
                let provider = Arc::clone(&account.provider);
                return Err(OverBudget { provider, length: name, limit: u64::from(limit), rows });
            }
        }
        rate(account, &takes)?;
    }
    Ok(())
}

fn row(load: &Load<'_>, take: &Take, window: Duration) -> Row {
    let rounds = load.timetable.most(window);
    Row { probe: load.probe.to_owned(), when: load.timetable.when().clone(), sessions: take.sessions, rounds }
}

/// A rate holds a round's sessions up and refuses none; what cannot be is that rounds take longer
/// than there is between them. So it is asked over the hour, or over the day where rounds are rare.
fn rate(account: &Account, takes: &[(&Load<'_>, &Take)]) -> Result<(), OverBudget> {
    let rates = takes.iter().map(|(_, take)| take.limits.rate);
    let per_second = |rate: crate::limits::Rate| f64::from(rate.starts) / rate.per.as_secs_f64();
    let Some(rate) = rates.min_by(|a, b| per_second(*a).total_cmp(&per_second(*b))) else { return Ok(()) };
    let window = Duration::from_hours(1);
    let rows: Vec<Row> = takes.iter().map(|(load, take)| row(load, take, window)).collect();
    let windows = u64::try_from(window.as_nanos() / rate.per.as_nanos().max(1)).unwrap_or(u64::MAX);
    let limit = u64::from(rate.starts).saturating_mul(windows.max(1));
    if rows.iter().map(Row::sum).sum::<u64>() <= limit {
        return Ok(());
    }
    let length = if rate.per == window { "an hour".to_owned() } else { format!("an hour (the rate is {rate})") };
    Err(OverBudget { provider: Arc::clone(&account.provider), length, limit, rows })
}

impl OverBudget {
    fn sum(&self) -> u64 {
        self.rows.iter().map(Row::sum).fold(0, u64::saturating_add)
    }

    /// The shortest interval of whole seconds, or minutes from one minute on, at which each probe
    /// keeps its share of the limit.
    fn fitting(&self, row: &Row) -> Option<Duration> {
        let window: u64 = if self.length.starts_with("a day") { 86_400 } else { 3600 };
        // Rounds that fit: the probe's share of the limit, by what it takes now.
        let share = u128::from(self.limit) * u128::from(row.rounds) / u128::from(self.sum().max(1));
        let rounds = u64::try_from(share).ok().filter(|&rounds| rounds > 0)?;
        let seconds = window.div_ceil(rounds);
        let rounded = if seconds > 60 { seconds.div_ceil(60) * 60 } else { seconds };
        Some(Duration::from_secs(rounded))
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, length, limit, rows } = self;
        write!(f, "the schedule is over the budget at {provider}, {limit} sessions {length}: ")?;
        let plural = |n: u64, one: &str| if n == 1 { format!("{n} {one}") } else { format!("{n} {one}s") };
        let unit = length.split(" (").next().unwrap_or(length);
        for row in rows {
            let (sessions, rounds) = (plural(row.sessions, "session"), plural(row.rounds, "round"));
            write!(f, "{} {sessions} a round x {rounds} {unit} ({}) = {}; ", row.probe, row.when, row.sum())?;
        }
        if rows.len() > 1 {
            write!(f, "{} in all; ", self.sum())?;
        }
        let mut fits = String::new();
        for row in rows {
            let fitting = self.fitting(row);
            let comma = if fits.is_empty() { "" } else { ", " };
            let _ = match fitting {
                Some(every) => {
                    write!(fits, "{comma}every = \"{}\" for {}", humantime::format_duration(every), row.probe)
                }
                None => write!(fits, "{comma}fewer sessions a round for {}", row.probe),
            };
        }
        write!(f, "what would fit: {fits}")
    }
}

impl std::error::Error for OverBudget {}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    /// Name, schedule, sessions, provider, ground.
    type Probe<'a> = (&'a str, &'a str, u64, &'a str, Ground);

    /// What is said of all of them.
    fn said(probes: &[Probe<'_>], limits: &Limits) -> String {
        let table = |when: &str| {
            let when = match crate::duration::parse(when) {
                Ok(every) => When::Every(every),
                Err(_) => When::Cron(when.parse().unwrap()),
            };
            Timetable::new(when, Duration::ZERO, 1, TimeZone::UTC, Timestamp::UNIX_EPOCH)
        };
        let tables: Vec<_> = probes.iter().map(|probe| table(probe.1)).collect();
        let takes: Vec<_> = probes
            .iter()
            .map(|&(_, _, sessions, provider, ground)| {
                let account = Account { provider: provider.into(), loopback: None };
                vec![Take { account, ground, sessions, limits: limits.clone() }]
            })
            .collect();
        let loads: Vec<_> = probes
            .iter()
            .zip(&tables)
            .zip(&takes)
            .map(|((probe, timetable), takes)| Load { probe: probe.0, timetable, takes })
            .collect();
        check(&loads).map_or_else(|over| over.to_string(), |()| String::new())
    }

    #[test]
    fn a_schedule_over_budget_says_the_arithmetic_and_what_fits() {
        use Ground::{Foreign, Loopback, Own};
        let default = Limits::default();
        let lively = Limits { rate: "100/s".parse().unwrap(), ..Limits::default() };
        let cases: [(&[Probe<'_>], &Limits, &str); 10] = [
            (&[("a.toml", "15m", 10, "p.example", Foreign)], &default, ""),
            (
                &[("a.toml", "15m", 20, "p.example", Foreign)],
                &default,
                "the schedule is over the budget at p.example, 1000 sessions a day: a.toml 20 sessions a round x 96 rounds a day (every 15m) = 1920; what would fit: every = \"29m\" for a.toml",
            ),
            (
                &[("a.toml", "5m", 32, "p.example", Foreign)],
                &default,
                "the schedule is over the budget at p.example, 200 sessions an hour: a.toml 32 sessions a round x 12 rounds an hour (every 5m) = 384; what would fit: every = \"10m\" for a.toml",
            ),
            (
                &[("a.toml", "15m", 32, "p.example", Foreign), ("b.toml", "*/10 * * * *", 16, "p.example", Foreign)],
                &default,
                "the schedule is over the budget at p.example, 200 sessions an hour: a.toml 32 sessions a round x 4 rounds an hour (every 15m) = 128; b.toml 16 sessions a round x 6 rounds an hour (cron */10 * * * *) = 96; 224 in all; what would fit: every = \"20m\" for a.toml, every = \"12m\" for b.toml",
            ),
            (
                &[("a.toml", "1h", 1024, "p.example", Foreign)],
                &default,
                "the schedule is over the budget at p.example, 200 sessions an hour: a.toml 1024 sessions a round x 1 round an hour (every 1h) = 1024; what would fit: fewer sessions a round for a.toml",
            ),
            // Other providers' sessions are other budgets; one's own has none, and a rate.
            (&[("a.toml", "15m", 9, "p.example", Foreign), ("b.toml", "15m", 9, "q.example", Foreign)], &default, ""),
            (&[("a.toml", "5m", 64, "p.example", Own)], &default, ""),
            (&[("a.toml", "1s", 8, "p.example", Loopback)], &lively, ""),
            (
                &[("a.toml", "1s", 8, "p.example", Loopback)],
                &default,
                "the schedule is over the budget at p.example, 1200 sessions an hour (the rate is 20/min): a.toml 8 sessions a round x 3600 rounds an hour (every 1s) = 28800; what would fit: every = \"24s\" for a.toml",
            ),
            (&[("a.toml", "2h", 120, "p.example", Own)], &default, ""),
        ];
        for (probes, limits, wanted) in cases {
            assert_eq!(said(probes, limits), wanted);
        }
    }

    #[test]
    fn what_would_fit_fits() {
        for sessions in [1, 3, 7, 20, 32, 100, 199] {
            for every in [1, 30, 60, 61, 300, 900, 3600] {
                let mut probe = ("a.toml", format!("{every}s"), sessions, "p.example", Ground::Foreign);
                // The hour is asked first, then the day, then the rate.
                for _ in 0..4 {
                    let said = said(&[(probe.0, &probe.1, probe.2, probe.3, probe.4)], &Limits::default());
                    match said.split_once("every = \"") {
                        Some((_, fits)) => probe.1 = fits.split('"').next().unwrap().to_owned(),
                        None => break,
                    }
                }
                let last = said(&[(probe.0, &probe.1, probe.2, probe.3, probe.4)], &Limits::default());
                assert!(last.is_empty() || last.ends_with("fewer sessions a round for a.toml"), "{last}");
            }
        }
    }
}
