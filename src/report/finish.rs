//! What every report gets at the end, whoever read it: what follows from its reply alone.

use super::reply::{self, Quoted};
use super::{postfix, text};
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
    let told = told.as_ref().map_or(report.reply.as_deref().unwrap_or_default(), |quoted| quoted.text.as_str());
    if report.reply.is_some() {
        report.tag = smtp::tag(told).map(str::to_owned);
        report.quoted_source = reply::named_source(told).filter(|ip| Some(*ip) != report.address);
        report.origin =
            report.origin.take().or_else(|| (report.kind == Some(Kind::Rejected)).then(|| "remote".to_owned()));
    }
    judge(report);
    report.domain = report
        .recipient
        .as_deref()
        .and_then(|to| to.rsplit_once('@'))
        .and_then(|(_, domain)| domain.parse::<crate::address::Host>().ok())
        .map(|d| d.to_string());
}

/// What the words of the reply say, and whether they contradict its numbers.
fn judge(_report: &mut Report) {}
