//! nullmailer: what its `smtp` program and its sender log. It never names the stage.

use super::log::{Entry, Taken};
use super::sentence;
use super::wording::{self, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "nullmailer";

/// `smtp: Failed: R`; the later lines of a reply follow without a head.
pub(crate) fn line(entry: &Entry<'_>) -> Taken {
    let text = entry.text;
    let told = text.strip_prefix("smtp: ").unwrap_or(text);
    if !entry.program.starts_with("nullmailer") {
        return Taken::No;
    }
    let Some(told) = told.strip_prefix("Failed: ") else { return Taken::Other };
    Taken::errors(failed(told).map(|report| entry.stamp(report)).into_iter().collect())
}

/// Reads what stands behind `smtp: Failed: `, which may go on for several lines.
pub(crate) fn failed(told: &str) -> Option<Report> {
    let mut report = by(NAME);
    // The later lines of a reply follow without a head.
    let lines = told.lines().scan(true, |more, line| {
        let this = *more;
        *more = line.get(3..4) == Some("-");
        this.then_some(line)
    });
    let told = &lines.collect::<Vec<_>>().join("\n");
    sentence::quote(&mut report, told);
    if report.code.is_none() {
        report = by(NAME);
        report.kind = wording::fault(told);
        if told.starts_with("Connect failed") {
            report.stage = Some(Stage::Connect);
        } else if report.kind == Some(Kind::DnsFailed) {
            report.stage = Some(Stage::Resolve);
        }
    }
    report.evidence = Some(super::reply::collapse(told));
    (report.code.is_some() || report.kind.is_some() || report.stage.is_some()).then_some(report)
}
