//! What all schedules together will take, before anything is sent.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{Means, Watched};
use crate::ledger::Ground;
use crate::run::{Foreseen, foresee};
use crate::schedule::budget::{self, Load, Take};
use crate::schedule::{Slot, When};
use crate::visible::visible;

/// What was foreseen, and is within every budget.
#[derive(Debug, Default)]
pub struct Forecast {
    /// What one round of each probe takes.
    pub takes: Vec<Take>,
    /// What the operator should know of it.
    pub notes: Vec<String>,
    by_probe: Vec<Vec<Take>>,
}

impl Forecast {
    /// Looks every target up and adds up what the schedules take.
    ///
    /// # Errors
    ///
    /// A schedule over budget, with the arithmetic; a probe that cannot run.
    pub async fn of(watched: &[Watched], means: &Arc<Means>) -> Result<Self, String> {
        let mut tasks = JoinSet::new();
        for (at, one) in watched.iter().enumerate() {
            let (means, probe, full) = (Arc::clone(means), Arc::clone(&one.probe), one.schedule.full);
            tasks.spawn(async move { (at, foresee(means.setup(probe, means.seed), full).await) });
        }
        let mut foreseen: Vec<Option<Foreseen>> = vec![None; watched.len()];
        while let Some(done) = tasks.join_next().await {
            let (at, result) = done.map_err(|e| format!("a lookup broke off: {e}"))?;
            let name = watched.get(at).map_or("", |one| &one.name);
            let result = result.map_err(|e| format!("{name}: {e}"))?;
            if let Some(place) = foreseen.get_mut(at) {
                *place = Some(result);
            }
        }
        let foreseen: Vec<Foreseen> = foreseen.into_iter().flatten().collect();
        let timetables: Vec<_> = watched.iter().map(|one| means.timetable(one, Duration::ZERO)).collect();
        let loads: Vec<Load<'_>> = watched
            .iter()
            .zip(&timetables)
            .zip(&foreseen)
            .map(|((one, timetable), found)| Load { probe: &one.name, timetable, takes: &found.takes })
            .collect();
        budget::check(&loads).map_err(|over| over.to_string())?;
        let notes = watched.iter().zip(&foreseen).flat_map(|(one, found)| notes(one, found)).collect();
        let by_probe: Vec<_> = foreseen.into_iter().map(|found| found.takes).collect();
        Ok(Self { takes: by_probe.concat(), notes, by_probe })
    }
}

impl Forecast {
    /// Each probe's next rounds and what one takes, and what each provider is asked for, in lines.
    #[must_use]
    pub fn in_words(&self, watched: &[Watched], means: &Means, now: Timestamp) -> String {
        let mut text = String::new();
        for (one, takes) in watched.iter().zip(&self.by_probe) {
            let table = means.timetable(one, Duration::ZERO);
            let mut slots: Vec<Slot> = table.first().into_iter().collect();
            while let Some(next) = slots.last().filter(|_| slots.len() < 3).and_then(|last| table.next(last, now)) {
                slots.push(next.slot);
            }
            let times: Vec<_> = slots.iter().map(|slot| format!("{:.0}", slot.start)).collect();
            let how = if one.schedule.full { "the whole matrix" } else { "one address per source in turn" };
            let next = if times.is_empty() { "never".to_owned() } else { times.join(", ") };
            let _ = writeln!(text, "{}: {}, {how}; next {next}", visible(&one.name), one.schedule.when);
            for take in takes {
                let Take { account, ground, sessions, limits } = take;
                let budget = match ground {
                    Ground::Foreign => format!("of {} an hour and {} a day", limits.per_hour, limits.per_day),
                    Ground::Own | Ground::Loopback => "without a budget, the target is your own".to_owned(),
                };
                let hours = [(1, "an hour"), (24, "a day")].map(|(hours, name)| {
                    let rounds = table.most(Duration::from_hours(hours));
                    format!("{} {name}", sessions.saturating_mul(rounds))
                });
                let provider = visible(&account.provider);
                let _ = writeln!(text, "  {provider}: {sessions} sessions a round, {}; {budget}", hours.join(", "));
            }
        }
        text
    }
}

fn notes(one: &Watched, found: &Foreseen) -> Vec<String> {
    let mut notes: Vec<String> =
        found.left_out.iter().map(|what| format!("{}: not probed: {what}", one.name)).collect();
    if found.takes.is_empty() {
        notes.push(format!("{}: the target does not resolve now: what its rounds take is not foreseen", one.name));
    }
    if matches!(one.schedule.when, When::Every(every) if found.lasts >= every) {
        let lasts = humantime::format_duration(Duration::from_secs(found.lasts.as_secs()));
        let when = &one.schedule.when;
        notes.push(format!(
            "{}: a round lasts {lasts} at least, and one is due {when}: rounds will be missed",
            one.name
        ));
    }
    notes
}
