//! What every report gets at the end, whoever read it: what follows from its reply alone.

use super::reply::Quoted;
use super::{postfix, text};
use crate::catalog;
use crate::record::{Kind, Report};
use crate::smtp::reply as smtp;

/// Longest reply and evidence kept, in bytes.
const MOST: usize = 4096;

/// Fills in class, provider's code, domain and notes.
pub(crate) fn finish(report: &mut Report) {
    for text in [&mut report.reply, &mut report.evidence, &mut report.inner_reply].into_iter().flatten() {
        text.truncate(super::sentence::floor(text, MOST));
    }
    if report.format == "dsn" && matches!(report.mta.as_deref(), None | Some(postfix::NAME)) {
        text::delayed(report);
    }
    report.class = report.code.map(smtp::Code::class).or(report.enhanced.and_then(|e| match e.class {
        4 => Some(smtp::Class::Transient),
        5 => Some(smtp::Class::Permanent),
        _ => None,
    }));
    let told = report.reply.as_deref().and_then(Quoted::read);
    let told = told.map_or_else(|| report.reply.clone().unwrap_or_default(), |quoted| quoted.text);
    if report.reply.is_some() {
        report.tag = smtp::tag(&told).map(str::to_owned);
        report.origin =
            report.origin.take().or_else(|| (report.kind == Some(Kind::Rejected)).then(|| "remote".to_owned()));
    }
    judge(report, &told);
    report.domain = report
        .recipient
        .as_deref()
        .and_then(|to| to.rsplit_once('@'))
        .and_then(|(_, domain)| domain.parse::<crate::address::Host>().ok())
        .map(|d| d.to_string());
}

/// What the words of the reply say, whether they contradict its numbers, and the client it names.
fn judge(report: &mut Report, told: &str) {
    if report.reply.is_none() {
        return;
    }
    report.text_class = catalog::text_class(told);
    let kept = report.status.as_deref().is_some_and(|status| status.starts_with('4'));
    let permanent = report.code.is_some_and(|code| code.class() == smtp::Class::Permanent);
    if kept && permanent
        || catalog::contradicts(report.code, report.enhanced, report.text_class, report.action.as_deref())
    {
        report.notes.push("inconsistent-reply".to_owned());
    }
    let mut named = catalog::addresses_named(told);
    named.retain(|ip| Some(*ip) != report.address);
    if let [source] = named.as_slice() {
        report.quoted_source = Some(*source);
    }
}
