//! What else is known: TLS, lookups, checks, times; what was not tested; where all this comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::{Block, Ink, LISTED, Past, Table};
use crate::record::{Kind, Role, Tls};
use crate::sink::faults::sessions;
use crate::sink::recording::{Recording, ranges};
use crate::sink::timing::timings;
use crate::stage::Stage;

/// What handshakes showed, each distinct thing once.
pub(super) fn tls(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let mut shown: BTreeMap<String, (u64, BTreeSet<_>)> = BTreeMap::new();
    for session in &recording.sessions {
        let Some(tls) = &session.tls else { continue };
        let seen = shown.entry(handshake(tls)).or_default();
        seen.0 += 1;
        seen.1.extend(session.address);
    }
    let mut shown: Vec<_> = shown.into_iter().collect();
    shown.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let more = shown.len().saturating_sub(LISTED);
    let mut points: Vec<String> = shown
        .into_iter()
        .take(LISTED)
        .map(|(what, (count, at))| format!("{} at {}: {}", sessions(count), ranges(at), ink.text(&what)))
        .collect();
    if more > 0 {
        points.push(format!("and {more} more"));
    }
    let refused = recording.sessions.iter().filter(|s| s.notes.iter().any(|note| note == "starttls-refused")).count();
    if refused > 0 {
        points.push(format!("STARTTLS was refused in {}, which went on in the clear", sessions(refused as u64)));
    }
    Block::list(points).into_iter().collect()
}

fn handshake(tls: &Tls) -> String {
    let or = |text: &Option<String>, other: &str| text.clone().unwrap_or_else(|| other.to_owned());
    let mut facts = vec![or(&tls.version, "no version"), or(&tls.cipher, "no cipher")];
    facts.push(if tls.verified {
        "certificate holds".to_owned()
    } else {
        or(&tls.problem, "certificate does not hold")
    });
    facts.extend((!tls.names.is_empty()).then(|| format!("for {}", tls.names.join(" "))));
    facts.extend(tls.issuer.as_ref().map(|issuer| format!("by {issuer}")));
    facts.extend(tls.not_after.map(|at| format!("until {at:.0}")));
    facts.extend(tls.dane.as_ref().map(|record| format!("vouched for by TLSA {record}")));
    facts.extend(tls.dane_problem.as_ref().map(|problem| format!("DANE: {problem}")));
    facts.join(", ")
}

pub(super) fn lookups(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let mut table = Table::new(["UTC", "name", "type", "answer", "asked"]);
    for lookup in &recording.lookups {
        let answer = match lookup.error {
            Some(error) => error.to_string(),
            None if lookup.answers.is_empty() => "none".to_owned(),
            None => lookup.answers.join(", "),
        };
        table.row([
            format!("{:.0}", lookup.at),
            ink.word(&lookup.name),
            ink.word(&lookup.rtype),
            ink.text(&answer),
            ink.word(&lookup.resolver),
        ]);
    }
    table.blocks("lookups")
}

pub(super) fn checks(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let mut table = Table::new(["check", "source", "result", "detail"]);
    for check in &recording.checks {
        table.row([
            check.check.to_string(),
            check.source.map_or_else(String::new, |source| source.to_string()),
            check.result.to_string(),
            ink.text(check.detail.as_deref().unwrap_or_default()),
        ]);
    }
    table.blocks("checks")
}

pub(super) fn times(recording: &Recording) -> Vec<Block> {
    let mut table = Table::new(["stage", "answered", "min ms", "median", "max"]);
    for t in timings(&recording.sessions) {
        let ms = |ms: f64| format!("{ms:.1}");
        table.row([t.stage.to_string(), t.count.to_string(), ms(t.min), ms(t.median), ms(t.max)]);
    }
    table.blocks("stages")
}

/// What nobody may conclude from all this.
pub(super) fn untested(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    let mut points = Vec::new();
    let probed = || recording.sessions.iter().filter(|s| s.role != Role::Control && s.kind != Kind::Skipped);
    if let Some(until) = probed().map(|s| s.until).max().filter(|&until| until < Stage::EndOfData) {
        let without = match until {
            Stage::Data => "no message was sent",
            Stage::Rcpt => "no DATA, no message",
            Stage::Mail => "no RCPT, no DATA",
            _ => "no MAIL, no RCPT, no DATA",
        };
        points.push(format!("what comes after {until}: {without}"));
    }
    let (v4, v6) = (probed().any(|s| is(s.address, false)), probed().any(|s| is(s.address, true)));
    match (v4, v6) {
        (true, false) => points.push("IPv6: every session went over IPv4".to_owned()),
        (false, true) => points.push("IPv4: every session went over IPv6".to_owned()),
        _ => {}
    }
    if probed().next().is_some() && recording.controls().is_empty() {
        points.push("another provider: there was no control".to_owned());
    }
    let times = probed().map(|s| s.at);
    if let (Some(first), Some(last), None) = (times.clone().min(), times.max(), past)
        && last.duration_since(first).as_mins() < 15
    {
        points.push("whether it lasts: all sessions began within 15 minutes".to_owned());
    }
    for (kind, what) in [(Kind::Skipped, "left out"), (Kind::Local, "not held for a reason of ours")] {
        let such: Vec<_> = recording.sessions.iter().filter(|s| s.kind == kind).collect();
        let why: BTreeSet<&str> = such.iter().filter_map(|s| s.detail.as_deref()).collect();
        let why: Vec<String> = why.into_iter().take(3).map(|why| ink.text(why)).collect();
        if !such.is_empty() {
            points.push(format!("{} {what}: {}", sessions(such.len() as u64), why.join("; ")));
        }
    }
    if !recording.planned.is_empty() {
        points.push(format!(
            "everything: {} were planned, and none was opened",
            sessions(recording.planned.len() as u64)
        ));
    }
    Block::list(points).into_iter().collect()
}

fn is(address: Option<std::net::IpAddr>, v6: bool) -> bool {
    address.is_some_and(|address| address.is_ipv6() == v6)
}

/// The runs, for whoever asks again.
pub(super) fn origin(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let runs = recording.runs.iter().take(LISTED);
    let mut points: Vec<String> = runs
        .map(|run| ink.word(&format!("run {} of {:.0}, seed {}, mxprobe {}", run.run, run.at, run.seed, run.version)))
        .collect();
    if recording.runs.len() > LISTED {
        points.push(format!("and {} more runs", recording.runs.len() - LISTED));
    }
    points.push(
        "local parts of recipients are left out (…); control characters in what was received are spelled out"
            .to_owned(),
    );
    Block::list(points).into_iter().collect()
}
