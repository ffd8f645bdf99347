//! A smoke test as a table: a row per source, a column per check and kind of session, and what is
//! not as it should be, with the one thing to do about each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::faults::what;
use super::recording::{Recording, ranges};
use crate::record::{Check, CheckName, CheckResult, Confidence, Diagnosis, Gate, Role, Session, Variant};
use crate::stage::Stage;
use crate::status::failed;

/// One target's verdicts.
pub(super) struct Sheet<'a> {
    pub(super) domain: Option<&'a str>,
    pub(super) whole: &'a Gate,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row<'a>>,
    /// The checks that every source passed: they have no column.
    pub(super) passed: Vec<CheckName>,
    /// The other checks that are of all sources: they have none either.
    pub(super) common: Vec<(CheckName, Mark)>,
    /// In the order of the columns.
    pub(super) findings: Vec<Finding>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Column {
    Check(CheckName),
    /// Sessions of a kind: up to a stage, or with a message.
    Sessions(Stage, Variant),
}

/// One source.
pub(super) struct Row<'a> {
    pub(super) source: IpAddr,
    pub(super) gate: &'a Gate,
    pub(super) marks: Vec<Mark>,
}

/// What stands in a cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    None,
    Check(CheckResult),
    /// So many of so many went through.
    Passed(usize, usize),
}

/// One thing that is not as it should be.
pub(super) struct Finding {
    pub(super) name: String,
    pub(super) result: CheckResult,
    /// The sources it is about; empty: all.
    pub(super) sources: Vec<IpAddr>,
    pub(super) detail: String,
    pub(super) fix: Option<String>,
}

impl Column {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Check(check) => check.as_str(),
            Self::Sessions(_, Variant::NeutralFrom) => "neutral",
            Self::Sessions(_, Variant::ControlMessage) => "control",
            Self::Sessions(_, Variant::Campaign) => "campaign",
            Self::Sessions(stage, _) => stage.as_str(),
        }
    }
}

impl Mark {
    pub(super) fn text(self) -> String {
        match self {
            Self::None => "-".to_owned(),
            Self::Check(CheckResult::Pass) => "ok".to_owned(),
            Self::Check(CheckResult::Warn) => "warn".to_owned(),
            Self::Check(CheckResult::Fail) => "FAIL".to_owned(),
            Self::Check(CheckResult::Unknown) => "?".to_owned(),
            Self::Passed(passed, tried) => format!("{passed}/{tried}"),
        }
    }
}

impl Finding {
    /// Whom it is about, in few words.
    pub(super) fn who(&self) -> String {
        if self.sources.is_empty() { "all".to_owned() } else { ranges(self.sources.iter().copied()) }
    }
}

/// A table for each target of a recording that has verdicts.
pub(super) fn sheets(recording: &Recording) -> Vec<Sheet<'_>> {
    let wholes = recording.gates.iter().filter(|gate| gate.source.is_none());
    wholes.map(|whole| sheet(recording, whole)).collect()
}

fn sheet<'a>(recording: &'a Recording, whole: &'a Gate) -> Sheet<'a> {
    let domain = whole.domain.as_deref();
    let gates: Vec<&Gate> = recording
        .gates
        .iter()
        .filter(|g| g.source.is_some() && g.domain == whole.domain && g.run == whole.run)
        .collect();
    let checks: Vec<&Check> =
        recording.checks.iter().filter(|c| c.domain.is_none() || c.domain.as_deref() == domain).collect();
    let sessions: Vec<&Session> =
        recording.sessions.iter().filter(|s| s.role == Role::Target && s.domain.as_deref() == domain).collect();
    let mut columns: Vec<Column> = checks.iter().map(|check| Column::Check(check.check)).collect();
    columns.extend(sessions.iter().filter_map(|session| column(session)));
    columns.sort_unstable();
    columns.dedup();
    let (of_checks, of_sessions, sources) = (&checks, &sessions, &gates);
    let marks = |column: Column| {
        sources.iter().filter_map(move |g| Some(mark(column, g.source?, of_checks, of_sessions, whole)))
    };
    let (mut passed, mut common) = (Vec::new(), Vec::new());
    columns.retain(|&column| {
        let Column::Check(name) = column else { return true };
        let of_all = checks.iter().filter(|check| check.check == name).all(|check| check.source.is_none());
        match marks(column).next() {
            _ if marks(column).all(|mark| mark == Mark::Check(CheckResult::Pass)) => passed.push(name),
            Some(mark) if of_all => common.push((name, mark)),
            _ => return true,
        }
        false
    });
    let rows = gates.iter().filter_map(|gate| {
        let source = gate.source?;
        let marks = columns.iter().map(|column| mark(*column, source, &checks, &sessions, whole)).collect();
        Some(Row { source, gate, marks })
    });
    let rows = rows.collect();
    let mut findings = by_checks(&checks, whole);
    findings.extend(by_sessions(&sessions, &gates, &recording.diagnoses));
    Sheet { domain, whole, columns, rows, passed, common, findings }
}

fn column(session: &Session) -> Option<Column> {
    match session.variant {
        Variant::Plaintext => None,
        Variant::Plain => Some(Column::Sessions(session.until, Variant::Plain)),
        variant => Some(Column::Sessions(session.until, variant)),
    }
}

/// What a check comes to: one that hinders nobody warns.
pub(super) fn weighed(check: &Check, whole: Option<&Gate>) -> CheckResult {
    let warns = check.result == CheckResult::Fail && whole.is_some_and(|whole| whole.warn.contains(&check.check));
    if warns { CheckResult::Warn } else { check.result }
}

fn mark(column: Column, source: IpAddr, checks: &[&Check], sessions: &[&Session], whole: &Gate) -> Mark {
    if let Column::Check(name) = column {
        let about = checks.iter().filter(|c| c.check == name && c.source.is_none_or(|of| of == source));
        return about
            .map(|check| weighed(check, Some(whole)))
            .max_by_key(|&result| gravity(result))
            .map_or(Mark::None, Mark::Check);
    }
    let mine =
        sessions.iter().filter(|s| s.source == Some(source) && self::column(s) == Some(column) && s.kind.is_trial());
    let tried = mine.clone().count();
    if tried == 0 { Mark::None } else { Mark::Passed(mine.filter(|s| !failed(s)).count(), tried) }
}

/// What fails weighs more than what is not known.
const fn gravity(result: CheckResult) -> u8 {
    match result {
        CheckResult::Pass => 0,
        CheckResult::Warn => 1,
        CheckResult::Unknown => 2,
        CheckResult::Fail => 3,
    }
}

/// Checks that did not pass; those of several sources that say the same are one.
fn by_checks(checks: &[&Check], whole: &Gate) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for check in checks.iter().filter(|check| check.result != CheckResult::Pass) {
        let (name, detail) = (check.check.as_str(), check.detail.clone().unwrap_or_default());
        let result = weighed(check, Some(whole));
        let same = findings.iter_mut().find(|f| {
            f.name == name && f.result == result && f.detail == detail && f.fix == check.fix && !f.sources.is_empty()
        });
        match (same, check.source) {
            (Some(finding), Some(source)) => finding.sources.push(source),
            (_, source) => findings.push(Finding {
                name: name.to_owned(),
                result,
                sources: source.into_iter().collect(),
                detail,
                fix: check.fix.clone(),
            }),
        }
    }
    let place = |f: &Finding| CheckName::ALL.iter().position(|check| check.as_str() == f.name);
    findings.sort_by_key(place);
    // What one deed mends is one finding.
    findings.dedup_by(|next, kept| {
        let same = kept.fix.is_some()
            && (&kept.fix, &kept.sources, kept.result) == (&next.fix, &next.sources, next.result)
            && kept.name != next.name;
        if same {
            kept.name = format!("{}, {}", kept.name, next.name);
        }
        same
    });
    findings
}

/// Endings that nobody wanted, by kind of session.
fn by_sessions(sessions: &[&Session], gates: &[&Gate], diagnoses: &[Diagnosis]) -> Vec<Finding> {
    let mut found: BTreeMap<(Column, String), Vec<&Session>> = BTreeMap::new();
    for session in sessions.iter().filter(|s| failed(s)) {
        if let Some(column) = column(session) {
            found.entry((column, what(session))).or_default().push(session);
        }
    }
    let finding = |((column, what), sessions): ((Column, String), Vec<&Session>)| {
        let mut sources: Vec<IpAddr> = sessions.iter().filter_map(|s| s.source).collect();
        sources.sort_unstable();
        sources.dedup();
        let first = sessions.first();
        let at = first.and_then(|s| s.stage).map_or_else(String::new, |stage| format!("at {stage}: "));
        let detail = match first.map(|s| (&s.reply, &s.detail)) {
            Some((Some(reply), _)) => format!("{at}{}", reply.join(" ")),
            Some((None, Some(detail))) => format!("{what}: {detail}"),
            _ => what,
        };
        let stage = sessions.first().and_then(|s| s.stage);
        let about = |d: &&Diagnosis| {
            d.confidence >= Confidence::Medium
                && d.stage == stage
                && (d.sources.is_empty() || sources.iter().any(|source| d.sources.contains(source)))
        };
        let advice = diagnoses.iter().find(about).map(|d| d.advice.clone());
        let quoting = || gates.iter().find(|g| g.source.is_some_and(|s| sources.contains(&s)) && names(g, &sessions));
        let fix = advice.or_else(|| quoting()?.fix.clone());
        Finding { name: column.name().to_owned(), result: CheckResult::Fail, sources, detail, fix }
    };
    found.into_iter().map(finding).collect()
}

/// Whether a verdict is about these sessions: its reason quotes what one of them was told.
fn names(gate: &Gate, sessions: &[&Session]) -> bool {
    let reason = gate.reason.as_deref().unwrap_or_default();
    let quoted = |s: &&Session| s.reply.as_ref().is_some_and(|lines| reason.contains(&lines.join(" ")));
    sessions.iter().any(quoted)
}
