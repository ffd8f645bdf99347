//! What a [`Filter`] says, in SQL.

use jiff::Timestamp;
use rusqlite::types::Value;

use super::Filter;

/// Conditions that all hold, and the values in the order of their question marks.
#[derive(Debug, Default)]
pub(super) struct Where {
    conditions: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Where {
    pub(super) fn and(&mut self, condition: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    /// `WHERE …`, or nothing.
    pub(super) fn clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }

    /// The conditions alone; there must be one.
    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// `LIMIT …`, with its value.
    pub(super) fn limit(&mut self, limit: Option<usize>) -> &'static str {
        self.values.push(limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1).into());
        "LIMIT ?"
    }
}

/// Sessions, as `s`; of one run, or of all.
pub(super) fn of_sessions(filter: &Filter, of_one_run: bool) -> Where {
    let mut all = Where::default();
    // A run's sessions lie together. Else the index over places and times is the way in, wherever
    // places are named. A plus keeps the other way from being tried.
    let plus = if filter.is_of_places() { "+" } else { "" };
    places(&mut all, if of_one_run { "+s.place" } else { "s.place" }, filter);
    outcomes(&mut all, "s.outcome", filter);
    if let Some(run) = &filter.run {
        all.and(format!("{plus}s.run = (SELECT id FROM run WHERE run = ?)"), [run.clone().into()]);
    }
    if let Some(probe) = &filter.probe {
        all.and(format!("{plus}s.run IN (SELECT id FROM run WHERE probe = ?)"), [probe.clone().into()]);
    }
    if filter.since.is_some() || filter.until.is_some() {
        let since = filter.since.map_or(i64::MIN, Timestamp::as_millisecond);
        let until = filter.until.map_or(i64::MAX, Timestamp::as_millisecond);
        all.and("s.at >= ? AND s.at < ?", [since.into(), until.into()]);
        if !filter.is_of_places() && filter.run.is_none() && !of_one_run {
            let of_that_time = "s.run IN (SELECT id FROM run WHERE last >= ? AND at < ?)";
            all.and(of_that_time, [since.into(), until.into()]);
        }
    }
    all
}

/// Runs, as `r`.
pub(super) fn of_runs(filter: &Filter) -> Where {
    let mut all = Where::default();
    if let Some(run) = &filter.run {
        all.and("r.run = ?", [run.clone().into()]);
    }
    if let Some(probe) = &filter.probe {
        all.and("r.probe = ?", [probe.clone().into()]);
    }
    if let Some(since) = filter.since {
        all.and("r.last >= ?", [since.as_millisecond().into()]);
    }
    if let Some(until) = filter.until {
        all.and("r.at < ?", [until.as_millisecond().into()]);
    }
    if filter.is_of_sessions() {
        let sessions = of_sessions(filter, false);
        all.and(format!("r.id IN (SELECT s.run FROM session s {})", sessions.clause()), sessions.values);
    }
    all
}

/// Hours, as `h`.
pub(super) fn of_hours(filter: &Filter) -> Where {
    let mut all = Where::default();
    places(&mut all, "h.place", filter);
    outcomes(&mut all, "h.outcome", filter);
    if let Some(since) = filter.since {
        all.and("h.at >= ?", [since.as_millisecond().div_euclid(super::hours::HOUR).into()]);
    }
    if let Some(until) = filter.until {
        all.and("h.at * 3600000 < ?", [until.as_millisecond().into()]);
    }
    all
}

/// Outcomes, as `o`, that are failures and the filter wants.
pub(super) fn of_failures(filter: &Filter) -> Where {
    let mut all = Where::default();
    all.and("o.failed", []);
    outcomes(&mut all, "o.id", filter);
    all
}

fn places(all: &mut Where, column: &str, filter: &Filter) {
    let mut place = Where::default();
    if let Some(source) = filter.source {
        place.and("source = ?", [source.to_string().into()]);
    }
    if let Some(address) = filter.address {
        place.and("address = ?", [address.to_string().into()]);
    }
    if let Some(domain) = &filter.domain {
        place.and("domain = ? COLLATE NOCASE", [domain.clone().into()]);
    }
    if !place.conditions.is_empty() {
        all.and(format!("{column} IN (SELECT id FROM place {})", place.clause()), place.values);
    }
}

fn outcomes(all: &mut Where, column: &str, filter: &Filter) {
    let mut outcome = Where::default();
    if let Some(stage) = filter.stage {
        outcome.and("stage = ?", [stage.as_str().to_owned().into()]);
    }
    if let Some(code) = filter.code {
        outcome.and("code = ?", [i64::from(code.get()).into()]);
    }
    if let Some(tag) = &filter.tag {
        outcome.and("tag = ?", [tag.clone().into()]);
    }
    if !outcome.conditions.is_empty() {
        all.and(format!("{column} IN (SELECT id FROM outcome {})", outcome.clause()), outcome.values);
    }
}
