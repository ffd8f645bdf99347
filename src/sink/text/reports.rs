//! What was read from bounces, logs and pasted text, and whether it could be seen again.

use std::io;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use super::refusals::lines;
use crate::record::{Finding, Report, Reproduction};
use crate::sink::faults::sessions;
use crate::sink::recording::{Recording, ranges};

/// Each report as it was understood.
pub(super) fn reports<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    recording.reports.iter().try_for_each(|report| self::report(paper, report))
}

/// Each report's result.
pub(super) fn reproductions<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    recording.reproductions.iter().try_for_each(|reproduction| self::reproduction(paper, reproduction))
}

fn report<W: io::Write>(paper: &mut Paper<W>, report: &Report) -> io::Result<()> {
    let line = report.line.map_or_else(String::new, |line| format!(":{line}"));
    let file = if report.file == "-" { "standard input" } else { &report.file };
    let by = report.mta.as_deref().map_or_else(String::new, |mta| format!(" by {mta}"));
    paper.blank()?;
    let facts = format!("{file}{line} ({}{by})", report.format);
    paper.flow(piece(BOLD, format!("report {}  ", report.seq)), PLAIN, &facts)?;
    if let Some(reply) = &report.reply {
        lines(paper, std::slice::from_ref(reply))?;
    }
    if let Some(reply) = &report.inner_reply {
        field(paper, "quoting", reply)?;
    }
    let candidates: Vec<&str> = report.candidates.iter().map(|stage| stage.as_str()).collect();
    let stage = match report.stage {
        Some(stage) => stage.to_string(),
        None if candidates.is_empty() => "not stated".to_owned(),
        None => format!("not stated, could be {}", candidates.join(", ")),
    };
    let why = report.stage_why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
    field(paper, "stage", &format!("{stage}{why}"))?;
    let class = report.class.map(|class| format!("{class} by code"));
    let words = report.text_class.map(|class| format!("{class} by words"));
    let action = report.action.as_deref().map(|action| format!("DSN action {action}"));
    let status = report.status.as_deref().map(|status| format!("DSN status {status}"));
    let tag = report.tag.as_deref().map(|tag| format!("tag {tag}"));
    field(paper, "means", &joined([class, words, action, status, tag]))?;
    field(paper, "said by", &joined([report.mx.clone(), report.address.map(|a| a.to_string())]))?;
    let quoted = report.quoted_source.map(|source| format!("{source}, as the reply has it"));
    field(paper, "said to", &joined([report.source.map(|s| s.to_string()), report.local_host.clone(), quoted]))?;
    field(paper, "mail for", &joined([report.recipient.clone().or_else(|| report.domain.clone())]))?;
    field(paper, "when", &joined([report.at.map(|at| format!("{at:.0}"))]))?;
    field(paper, "notes", &report.notes.join(", "))?;
    let known = report.provider.as_ref().map(|provider| format!("known from {provider}"));
    field(paper, "whose", &joined([report.scope.clone(), known]))?;
    field(paper, "meaning", report.meaning.as_deref().unwrap_or_default())?;
    field(paper, "do", report.advice.as_deref().unwrap_or_default())?;
    field(paper, "source", report.reference.as_deref().unwrap_or_default())?;
    if report.attempt {
        return Ok(());
    }
    paper.flow(piece(PLAIN, "  "), WARN, "no attempt of its own: the line repeats an earlier result")
}

fn reproduction<W: io::Write>(paper: &mut Paper<W>, r: &Reproduction) -> io::Result<()> {
    let style = match r.result {
        Finding::Reproduced => BAD,
        Finding::NotReproduced => GOOD,
        Finding::Different | Finding::Undecided => WARN,
    };
    let result = r.result.as_str().replace('-', " ").to_uppercase();
    let from = if r.sources.is_empty() { String::new() } else { format!("from {}", ranges(r.sources.iter().copied())) };
    paper.blank()?;
    paper.flow(piece(style.bold(), format!("report {}  {result}  ", r.report)), PLAIN, &from)?;
    let different = if r.different > 0 { format!(", {} failed otherwise", r.different) } else { String::new() };
    let rate = format!("rate {:.1}-{:.1} % (95 %)", r.rate_low * 100.0, r.rate_high * 100.0);
    field(paper, "seen", &format!("in {} of {}{different}; {rate}", r.same, sessions(r.sessions)))?;
    if let Some(rate) = r.detectable_rate.filter(|_| r.same == 0) {
        let percent = rate * 100.0;
        field(paper, "missed", &format!("what hits at least {percent:.1} % of sessions would have shown, at 95 %"))?;
    }
    field(paper, "untested", &r.not_tested.join("; "))
}

fn field<W: io::Write>(paper: &mut Paper<W>, name: &str, text: &str) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { paper.flow(piece(DIM, format!("  {name:9}")), PLAIN, text) }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
