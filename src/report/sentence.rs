//! Reading an error from running text: each dialect says which of its phrases it finds, and what
//! stands between one phrase and the next belongs to the first of the two.

use std::ops::Range;

use super::reply::{self, Quoted};
use super::squeeze::Squeezed;
use super::wording;
use crate::record::{Kind, Report};

/// A phrase that one dialect uses and what it says by itself.
pub(crate) struct Hit {
    /// From the first telling byte (the host before the phrase included) to the last.
    pub(crate) span: Range<usize>,
    pub(crate) report: Report,
    /// Reads what follows the phrase.
    pub(crate) rest: fn(&mut Report, &str),
}

impl Hit {
    pub(crate) fn new(span: Range<usize>, report: Report, rest: fn(&mut Report, &str)) -> Self {
        Self { span, report, rest }
    }
}

/// Reads every error that `text` tells, in order; a report's `evidence` is the words it rests on.
pub(crate) fn read(text: &str) -> Vec<Report> {
    let squeezed = Squeezed::new(text);
    let mut hits = Vec::new();
    for dialect in super::SENTENCES {
        dialect(&squeezed, &mut hits);
    }
    told(text, hits).into_iter().map(|(_, report)| report).collect()
}

/// The same for the phrases of one dialect.
pub(crate) fn read_as(text: &str, dialect: super::Sentences) -> Option<Report> {
    let mut hits = Vec::new();
    dialect(&Squeezed::new(text), &mut hits);
    told(text, hits).into_iter().map(|(_, report)| report).next()
}

/// Reads every error with the place where it begins.
pub(crate) fn told(text: &str, mut hits: Vec<Hit>) -> Vec<(Range<usize>, Report)> {
    hits.sort_by_key(|hit| (hit.span.start, usize::MAX - hit.span.end));
    let mut kept: Vec<Hit> = Vec::new();
    for hit in hits {
        if kept.last().is_none_or(|last| last.span.end <= hit.span.start) {
            kept.push(hit);
        }
    }
    let starts: Vec<usize> = kept.iter().map(|hit| hit.span.start).skip(1).chain([text.len()]).collect();
    kept.into_iter()
        .zip(starts)
        .map(|(hit, next)| {
            let Hit { span, mut report, rest } = hit;
            rest(&mut report, &text[span.end..next]);
            let end = next.min(floor(text, span.end + 300));
            report.evidence = Some(reply::collapse(&text[span.start..end]));
            (span.start..next, report)
        })
        .collect()
}

/// The reply follows, perhaps behind `host H [IP]:`.
pub(crate) fn reply_follows(report: &mut Report, rest: &str) {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || ":-–—.".contains(c));
    let rest = match rest.strip_prefix("host").filter(|r| !r.starts_with(char::is_alphanumeric)) {
        Some(named) => {
            let (host, reply) = split_host(named);
            let (mx, address) = wording::host_and_address(host);
            report.mx = report.mx.take().or(mx);
            report.address = report.address.or(address);
            reply
        }
        None => rest,
    };
    quote(report, rest);
}

/// The reply follows after `Remote host said:` or the like; nothing else can.
pub(crate) fn nothing_follows(_: &mut Report, _: &str) {}

/// Takes over the reply at the start of `text`.
pub(crate) fn quote(report: &mut Report, text: &str) {
    let text = text.split("\n\n").find(|part| !part.trim().is_empty()).unwrap_or_default();
    let text = text.split(" reported by ").next().unwrap_or(text);
    if let Some(quoted) = Quoted::read(text) {
        report.kind = report.kind.or(Some(Kind::Rejected));
        set(report, quoted);
    }
}

pub(crate) fn set(report: &mut Report, quoted: Quoted) {
    report.code = quoted.code;
    report.enhanced = quoted.enhanced;
    report.reply = Some(quoted.reply);
}

/// The host at the start of `text` and what follows its colon.
fn split_host(text: &str) -> (&str, &str) {
    let mut from = 0;
    if let Some(close) = text.find(']').filter(|&at| at < 300) {
        from = close;
    }
    let end = text[from..].match_indices(':').map(|(at, _)| from + at).find(|&at| {
        text[at + 1..].starts_with(|c: char| {
            c.is_whitespace() || c.is_ascii_digit() && !text[..at].ends_with(']') || reply::is_quote(c)
        })
    });
    match end {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => Quoted::find(text).map_or((text, ""), |(at, _)| text.split_at(at)),
    }
}

/// The last character boundary at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
