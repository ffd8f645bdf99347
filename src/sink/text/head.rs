//! The first and the last lines: what was tried, and the counts.

use std::io;

use super::paper::{BAD, BOLD, DIM, PLAIN, Paper, WARN, piece};
use crate::record::{Check, CheckResult, LookupError};
use crate::sink::faults::sessions;
use crate::sink::recording::{Exchanger, Recording, ranges};
use crate::stage::Stage;

const INDENT: usize = 10;

/// No more exchangers than this are named.
const SHOWN: usize = 12;

/// That the provider was simulated, where it was: before anything that could be taken for news.
pub(super) fn simulated<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    if recording.runs.iter().any(|run| run.simulated) {
        paper.flow(
            piece(PLAIN, ""),
            BOLD,
            "SIMULATED: the provider below is a script on this host; nothing here is about the real one",
        )?;
    }
    Ok(())
}

/// When, what, from where, how deep.
pub(super) fn head<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    for run in &recording.runs {
        let facts = [format!("mxprobe {}", run.version), format!("{:.0}", run.at), format!("seed {}", run.seed)];
        paper.items(piece(PLAIN, ""), facts.map(|fact| vec![piece(DIM, fact)]))?;
        field(paper, "run", &run.run)?;
    }
    let named: Vec<Option<&str>> = match recording.domains() {
        domains if domains.iter().any(Option::is_some) => domains,
        hosts => {
            let targets = recording.runs.iter().flat_map(|run| &run.targets).map(String::as_str);
            targets.map(Some).chain(hosts).collect()
        }
    };
    for domain in named {
        target(paper, recording, domain)?;
    }
    field(paper, "source", &ranges(recording.sources(false)))?;
    field(paper, "neutral", &ranges(recording.sources(true)))?;
    field(paper, "control", &recording.controls().into_iter().collect::<Vec<_>>().join(", "))?;
    field(paper, "plan", &plan(recording))?;
    lookups(paper, recording)?;
    checks(paper, recording)
}

/// The counts, the time it took and what the program exits with.
pub(super) fn summary<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let Some(summary) = &recording.summary else { return Ok(()) };
    let mut counts = vec![format!("{} completed", summary.completed)];
    for (count, what) in [(summary.failed, "failed"), (summary.local, "our own fault"), (summary.skipped, "skipped")] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    let took = summary.elapsed_ms.map(|ms| format!("; {}", super::timing::seconds(ms))).unwrap_or_default();
    let text = format!("{}: {}{took}; exit {}", sessions(summary.sessions), counts.join(", "), summary.exit);
    paper.blank()?;
    paper.flow(piece(PLAIN, ""), BOLD, &text)
}

fn target<W: io::Write>(paper: &mut Paper<W>, recording: &Recording, domain: Option<&str>) -> io::Result<()> {
    if let Some(domain) = domain {
        paper.flow(label("target"), BOLD, domain)?;
    }
    if recording.null_mx(domain) {
        paper.flow(label("MX"), WARN, "null MX (RFC 7505): the domain says that it takes no mail")?;
    }
    let exchangers = recording.exchangers(domain);
    if exchangers.is_empty() && !recording.null_mx(domain) && domain.is_some_and(|domain| recording.unresolved(domain))
    {
        paper.flow(label("MX"), BAD, "DOES NOT RESOLVE")?;
    }
    for exchanger in exchangers.iter().take(SHOWN) {
        let resolves = exchanger.name.is_none_or(|name| !recording.unresolved(name));
        let name = if domain.is_some() && exchanger.preference.is_some() { "MX" } else { "host" };
        let style = if exchanger.addresses.is_empty() { BAD } else { PLAIN };
        paper.flow(label(name), style, &described(exchanger, resolves))?;
    }
    if exchangers.len() > SHOWN {
        field(paper, "MX", &format!("and {} more", exchangers.len() - SHOWN))?;
    }
    Ok(())
}

/// `10 mx.example  8 addresses: 198.51.100.21-28`.
fn described(exchanger: &Exchanger<'_>, resolves: bool) -> String {
    let preference = exchanger.preference.map_or_else(String::new, |p| format!("{p} "));
    let addresses = ranges(exchanger.addresses.iter().copied());
    match (exchanger.name, exchanger.addresses.len()) {
        (Some(name), 0) if resolves => format!("{preference}{name}: no address on record"),
        (Some(name), 0) => format!("{preference}{name}: DOES NOT RESOLVE"),
        (Some(name), 1) => format!("{preference}{name}: {addresses}"),
        (Some(name), n) => format!("{preference}{name}: {n} addresses, {addresses}"),
        (None, _) => format!("{preference}{addresses}"),
    }
}

/// How many sessions, how deep, and what they did not do.
///
/// A reproduction ends when it knows enough, so each says by itself what was planned.
fn plan(recording: &Recording) -> String {
    if !recording.reproductions.is_empty() {
        return String::new();
    }
    let planned = recording.sessions.len().max(recording.planned.len());
    let Some(until) = recording
        .sessions
        .iter()
        .chain(&recording.planned)
        .map(|s| s.until)
        .chain(recording.runs.iter().map(|r| r.until))
        .max()
    else {
        return String::new();
    };
    let without = match until {
        Stage::EndOfData | Stage::Quit => "a real message each",
        Stage::Data => "no message",
        Stage::Rcpt => "no DATA, no message",
        Stage::Mail => "no RCPT, no DATA",
        _ => "no MAIL, no RCPT, no DATA",
    };
    let pairs = if recording.has_pairs() { ", paired ones among them" } else { "" };
    let all = || recording.sessions.iter().chain(&recording.planned);
    let messages = all().filter(|s| s.until == Stage::EndOfData).count();
    let others = all().map(|s| s.until).filter(|&until| until != Stage::EndOfData).max();
    if let (1.., Some(others @ (Stage::Mail | Stage::Rcpt | Stage::Data))) = (messages, others) {
        return format!(
            "{}: {messages} with a real message each, the others no deeper than {others}",
            sessions(planned as u64)
        );
    }
    match planned {
        0 => String::new(),
        n => format!("{} up to {until}: {without}{pairs}", sessions(n as u64)),
    }
}

/// Lookups that failed, in words.
fn lookups<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    for lookup in &recording.lookups {
        // That there are none of them is an answer like any other.
        let optional = !matches!(&*lookup.rtype, "MX" | "A" | "AAAA" | "PTR");
        let is_news = |error: &LookupError| match error {
            LookupError::Nodata => lookup.rtype == "MX",
            LookupError::Nxdomain => !optional,
            _ => true,
        };
        let Some(error) = lookup.error.filter(is_news) else { continue };
        let what = match error {
            LookupError::Nxdomain => "the name does not exist",
            LookupError::Nodata => "no such record",
            LookupError::Servfail => "its name servers failed",
            LookupError::Refused => "the resolver would not answer",
            LookupError::Timeout => "no answer in time",
            LookupError::Unreachable => "no resolver could be reached",
            LookupError::Bogus => "DNSSEC validation failed",
        };
        let text = format!("{} {}: {what} ({error}; asked {})", lookup.name, lookup.rtype, lookup.resolver);
        paper.flow(label("DNS"), WARN, &text)?;
    }
    Ok(())
}

/// Checks that did not pass, one by one; those that did, by name.
fn checks<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    // A smoke test has a table of them.
    if !recording.gates.is_empty() {
        return Ok(());
    }
    let (passed, other): (Vec<&Check>, Vec<&Check>) =
        recording.checks.iter().partition(|check| check.result == CheckResult::Pass);
    let mut names: Vec<&str> = passed.iter().map(|check| check.check.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    field(paper, "passed", &names.join(", "))?;
    for check in other {
        let about = check.source.map_or_else(|| "target".to_owned(), |source| source.to_string());
        let detail = check.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
        let style = if check.result == CheckResult::Fail { BAD } else { WARN };
        paper.flow(label("check"), style, &format!("{about} {} {}{detail}", check.check, check.result))?;
    }
    Ok(())
}

fn field<W: io::Write>(paper: &mut Paper<W>, name: &str, text: &str) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { paper.flow(label(name), PLAIN, text) }
}

fn label(name: &str) -> super::paper::Piece {
    piece(DIM, format!("{name:INDENT$}"))
}
