//! What was read from bounces, logs and pasted text, and whether it could be seen again.

use std::io;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use super::refusals::lines;
use crate::record::{Finding, Report, Reproduction};
use crate::sink::faults::sessions;
use crate::sink::recording::{Recording, ranges};
use crate::smtp::reply::{Class, Code};

/// So many characters remind of a report's words.
const REMINDER: usize = 240;

/// Each report as it was understood; where they were put together to be reproduced, the first of
/// each kind.
pub(super) fn reports<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let asked = |seq| recording.reproductions.iter().any(|reproduction| reproduction.report == seq);
    let shown = recording.reports.iter().filter(|r| recording.reproductions.is_empty() || asked(r.seq));
    for report in shown.clone() {
        self::report(paper, report)?;
        if asked(report.seq) {
            field(paper, "missing", &missing(report))?;
        }
    }
    let more = recording.reports.len() - shown.count();
    if more == 0 {
        return Ok(());
    }
    paper.blank()?;
    paper.flow(piece(PLAIN, ""), DIM, &format!("further reports, which say the same or are rarer: {more}"))
}

/// Each report's result; `reminded`, or where there are several, with the words that it is about.
pub(super) fn reproductions<W: io::Write>(
    paper: &mut Paper<W>,
    recording: &Recording,
    reminded: bool,
) -> io::Result<()> {
    let reminded = reminded || recording.reproductions.len() > 1;
    let words = |seq| {
        let reply = recording.reports.iter().find(|report| report.seq == seq)?.reply.as_deref()?;
        let shown: String = reply.chars().take(REMINDER).collect();
        Some(if shown.len() < reply.len() { format!("{shown} …") } else { shown })
    };
    recording.reproductions.iter().try_for_each(|reproduction| {
        self::reproduction(paper, reproduction, words(reproduction.report).filter(|_| reminded))
    })
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
    if let Some(contradiction) = contradiction(report) {
        paper.flow(piece(DIM, "  at odds  "), WARN, &contradiction)?;
    }
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

fn reproduction<W: io::Write>(paper: &mut Paper<W>, r: &Reproduction, words: Option<String>) -> io::Result<()> {
    let style = match r.result {
        Finding::Reproduced => BAD,
        Finding::NotReproduced => GOOD,
        Finding::Different | Finding::Undecided => WARN,
    };
    let result = r.result.as_str().replace('-', " ").to_uppercase();
    let from = if r.sources.is_empty() { String::new() } else { format!("from {}", ranges(r.sources.iter().copied())) };
    let such = if r.reports > 1 { format!("({} such reports)", r.reports) } else { String::new() };
    let at = match (r.stage, r.until) {
        (Some(stage), _) => format!("at {stage}"),
        (None, Some(until)) => format!("up to {until}"),
        (None, None) => String::new(),
    };
    let domain = r.domain.as_deref().map_or_else(String::new, |domain| format!("of {domain}"));
    paper.blank()?;
    let facts = [from.as_str(), &at, &domain, &such].into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>();
    paper.flow(piece(style.bold(), format!("report {}  {result}  ", r.report)), PLAIN, &facts.join(" "))?;
    if let Some(words) = words {
        lines(paper, &[words])?;
    }
    let because = r.because.as_deref().unwrap_or_default();
    field(paper, "because", because)?;
    field(paper, "plan", &r.plan.join("; "))?;
    if r.sessions > 0 {
        let different = if r.different > 0 { format!(", {} failed otherwise", r.different) } else { String::new() };
        let rate = format!("rate {:.1}-{:.1} % (95 %)", r.rate_low * 100.0, r.rate_high * 100.0);
        field(paper, "seen", &format!("in {} of {}{different}; {rate}", r.same, sessions(r.sessions)))?;
    }
    field(paper, "at", &ranges(r.addresses.iter().copied()))?;
    field(paper, "instead", &r.others.join("; "))?;
    if let Some(rate) = r.detectable_rate.filter(|_| r.same == 0) {
        let rate = format!("{:.1}", rate * 100.0);
        let rate = rate.strip_suffix(".0").unwrap_or(&rate);
        field(paper, "excluded", &format!("a failure in {rate} % of sessions or more: it would have shown, at 95 %"))?;
    }
    if let Some((passed, tried)) = r.control {
        field(paper, "control", &format!("{passed} of {} at other providers passed", sessions(tried)))?;
    }
    field(paper, "untested", &r.not_tested.join("; "))?;
    field(paper, "mail", r.mail.as_deref().unwrap_or_default())?;
    field(paper, "next", &r.next.join("; "))
}

/// What of a report says that it is for good, and what that it is not; `None` where it agrees.
fn contradiction(report: &Report) -> Option<String> {
    let status = report.status.as_deref().and_then(|status| match status.as_bytes().first() {
        Some(b'4') => Some(Class::Transient),
        Some(b'5') => Some(Class::Permanent),
        _ => None,
    });
    let action = report.action.as_deref().and_then(|action| match action {
        "delayed" => Some(Class::Transient),
        "failed" => Some(Class::Permanent),
        _ => None,
    });
    let show = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let says = [
        (report.code.map(Code::class), show("code", report.code.map(|code| code.to_string()))),
        (report.text_class, Some("its words".to_owned())),
        (status, show("status", report.status.clone())),
        (action, show("action", report.action.clone())),
    ];
    let of = |wanted: Class| {
        let said = says.iter().filter(|(class, _)| *class == Some(wanted)).filter_map(|(_, what)| what.as_deref());
        said.collect::<Vec<_>>().join(", ")
    };
    let (good, now) = (of(Class::Permanent), of(Class::Transient));
    (!good.is_empty() && !now.is_empty()).then(|| format!("for good by {good}; for now by {now}"))
}

/// What would narrow a reproduction down and is not stated.
fn missing(report: &Report) -> String {
    let host = report.mx.is_none() && report.address.is_none();
    let missing = [
        (report.recipient.is_none() && report.domain.is_none(), "the recipient"),
        (host, "the host that replied"),
        (report.source.is_none() && report.quoted_source.is_none(), "the source"),
        (report.at.is_none(), "the time"),
    ];
    missing.into_iter().filter(|(missing, _)| *missing).map(|(_, what)| what).collect::<Vec<_>>().join(", ")
}

fn field<W: io::Write>(paper: &mut Paper<W>, name: &str, text: &str) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { paper.flow(piece(DIM, format!("  {name:9}")), PLAIN, text) }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
