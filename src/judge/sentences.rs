//! How the judge says things: counts with their intervals, replies word for word, what would help.
//!
//! Apart from the rules so that one fact reads the same wherever it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use jiff::Timestamp;

use super::case::{Case, Sign};
use super::matrix::{Count, Group};
use super::statistics::{float, wilson};
use super::trial::Trial;
use crate::catalog::{contradicts, text_class};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere, Kind};
use crate::stage::Stage;

/// A diagnosis about no unit in particular, with nothing said yet.
pub(crate) fn diagnosis(kind: DiagnosisKind, confidence: Confidence) -> Diagnosis {
    Diagnosis {
        run: String::new(),
        rank: 0,
        kind,
        confidence,
        sources: Vec::new(),
        addresses: Vec::new(),
        backends: Vec::new(),
        stage: None,
        code: None,
        failed: 0,
        tried: 0,
        elsewhere: Elsewhere::default(),
        p: None,
        leaning: None,
        candidates: Vec::new(),
        windows: 0,
        because: Vec::new(),
        would_raise: Vec::new(),
        advice: String::new(),
        ruled_out: Vec::new(),
        notes: Vec::new(),
    }
}

/// `undecided` between these kinds, in table order.
pub(crate) fn undecided(
    candidates: impl IntoIterator<Item = DiagnosisKind>,
    leaning: Option<DiagnosisKind>,
) -> Diagnosis {
    let candidates: BTreeSet<DiagnosisKind> = candidates.into_iter().collect();
    Diagnosis {
        leaning: leaning.filter(|l| candidates.contains(l)),
        candidates: candidates.into_iter().collect(),
        advice: "do not act on this alone: gather what would settle it first".to_owned(),
        ..diagnosis(DiagnosisKind::Undecided, Confidence::Low)
    }
}

/// `7 of 7 connections failed (65-100 %)`.
pub(crate) fn failed(count: Count) -> String {
    let Count { failed, tried } = count;
    format!("{failed} of {} failed ({})", connections(tried), interval(count))
}

/// `1 connection`, `8 connections`.
pub(crate) fn connections(n: u64) -> String {
    plural(n, "connection")
}

pub(crate) fn plural(n: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if n == 1 => format!("1 {what}"),
        Some(stem) => format!("{n} {stem}ies"),
        None if what.ends_with('s') => format!("{n} {what}es"),
        None => format!("{n} {what}s"),
    }
}

/// Wilson's interval: `95 % interval 2.2-47 %`.
pub(crate) fn interval(count: Count) -> String {
    let (low, high) = wilson(count.failed, count.tried);
    format!("95 % interval {}-{} %", percent(low), percent(high))
}

/// A share in per cent, to two digits or so.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 9.95 {
        format!("{percent:.0}")
    } else if percent >= 0.095 {
        format!("{percent:.1}")
    } else {
        format!("{percent:.2}")
    }
}

/// `p = 0.0079`, `p = 8.4e-7`.
pub(crate) fn probability(p: f64) -> String {
    if p >= 0.001 {
        let digits = format!("{p:.4}");
        format!("p = {}", digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        format!("p = {p:.1e}")
    }
}

/// Some things by name: `a, b and 3 more`.
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 6;
    let items: Vec<String> = items.into_iter().map(|i| visible(&i.to_string())).collect();
    match items.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [head @ .., last] if items.len() <= SHOWN => format!("{} and {last}", head.join(", ")),
        _ => format!("{} and {} more", items[..SHOWN].join(", "), items.len() - SHOWN),
    }
}

/// A text of the other side, made safe to print, and cut where it is too long to read.
pub(crate) fn visible(text: &str) -> String {
    const LONGEST: usize = 600;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} [cut]", crate::visible::visible(&text[..end])),
        None => crate::visible::visible(text).into_owned(),
    }
}

pub(crate) fn time(at: i64) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| format!("{at} ms"), |t| format!("{t:.0}"))
}

/// The first and last failure of these trials, `None` without any.
pub(crate) fn span<'a>(failures: impl IntoIterator<Item = &'a Trial>) -> Option<(i64, i64)> {
    failures.into_iter().fold(None, |span, t| {
        let (from, to) = span.unwrap_or((t.first(), t.last()));
        Some((from.min(t.first()), to.max(t.last())))
    })
}

/// How many sessions these trials stand for.
pub(crate) fn sessions<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> u64 {
    trials.into_iter().map(|t| t.weight).sum()
}

/// How most of these failures ended, and how many of how many did.
pub(crate) fn main_sign(case: &Case<'_>, failures: &[&Trial]) -> Option<(Sign, Count)> {
    let mut counts: BTreeMap<Sign, u64> = BTreeMap::new();
    for t in failures {
        *counts.entry(case.sign(t)).or_default() += t.weight;
    }
    let tried = counts.values().sum();
    // Of two that are as many, the earlier in order.
    let (sign, failed) = counts.into_iter().rev().max_by_key(|(_, n)| *n)?;
    Some((sign, Count { failed, tried }))
}

/// What the other side did, in words: `at mail: "421 4.7.0 …"` or `timed-out at connect`.
pub(crate) fn ending(case: &Case<'_>, t: &Trial) -> String {
    let stage = t.stage.map_or("an unknown stage", Stage::as_str);
    match (case.reply(t), t.code) {
        (Some(reply), _) if t.kind == Kind::Rejected => format!("{stage} said \"{}\"", visible(reply)),
        (Some(reply), _) => format!("{} at {stage} after \"{}\"", t.kind, visible(reply)),
        (None, Some(code)) => format!("{stage} said {code}"),
        (None, None) => {
            let detail = t.detail.map(|d| format!(" ({})", visible(case.names().text(d)))).unwrap_or_default();
            format!("{} at {stage}{detail}", t.kind)
        }
    }
}

/// The replies that make up most of these failures, word for word, and what is known of them.
pub(crate) fn words(case: &Case<'_>, failures: &[&Trial]) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut by_sign: BTreeMap<Sign, (u64, &Trial)> = BTreeMap::new();
    for &t in failures {
        let entry = by_sign.entry(case.sign(t)).or_insert((0, t));
        entry.0 += t.weight;
        // The quoted one must not hang on which session came first.
        if quote_key(case, t) < quote_key(case, entry.1) {
            entry.1 = t;
        }
    }
    let mut signs: Vec<_> = by_sign.into_iter().collect();
    signs.sort_by(|(a, (n, _)), (b, (m, _))| m.cmp(n).then(a.cmp(b)));
    let mut sentences: Vec<String> = signs
        .iter()
        .take(SHOWN)
        .map(|(_, (n, t))| {
            let known = case.rule(t).map(|rule| format!("; on record: {}", rule.meaning)).unwrap_or_default();
            format!("{}: {}{known}", plural_times(*n), ending(case, t))
        })
        .collect();
    if signs.len() > SHOWN {
        sentences.push(format!("and {} more", plural((signs.len() - SHOWN) as u64, "other ending")));
    }
    sentences
}

fn plural_times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

fn quote_key<'a>(case: &Case<'a>, t: &Trial) -> (Option<&'a str>, Option<&'a str>) {
    (case.reply(t), t.detail.map(|d| case.names().text(d)))
}

/// What the rule counted: `7 of 7 cells failed, 0 of 21 of the rest: …`.
pub(crate) fn compared<U>(group: &Group<U>, unit: &str) -> String {
    let Group { here, rest, chosen, among, families, .. } = group;
    let at = group.question.map(|s| format!(" at {s}")).unwrap_or_default();
    let sessions = if here.sessions == here.cells && rest.sessions == rest.cells {
        String::new()
    } else {
        format!(
            "; in connections {} of {} against {} of {}, {}",
            here.sessions.failed,
            here.sessions.tried,
            rest.sessions.failed,
            rest.sessions.tried,
            probability(group.p_sessions)
        )
    };
    format!(
        "{} of {} cells failed{at} ({}) against {} of {} elsewhere ({}): {} by Fisher's exact test, times the ways to \
         choose {chosen} of {} and {families} families{sessions}",
        here.cells.failed,
        here.cells.tried,
        interval(here.cells),
        rest.cells.failed,
        rest.cells.tried,
        interval(rest.cells),
        probability(group.p),
        plural(*among, unit),
    )
}

/// `inconsistent-reply`, `overload`, `mixed-replies` where these failures show them.
pub(crate) fn notes(case: &Case<'_>, failures: &[&Trial]) -> Vec<String> {
    let mut notes = BTreeSet::new();
    let mut codes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for t in failures {
        if t.inconsistent {
            notes.insert("inconsistent-reply");
        }
        if t.overload {
            notes.insert("overload");
        }
        if let Some(code) = t.code {
            codes.entry(t.source).or_default().insert(code);
        }
        let Some(words) = t.said.and_then(|s| case.names().words(s)) else { continue };
        if seen.insert((t.code, t.enhanced, t.said)) {
            if contradicts(t.code, t.enhanced, text_class(&words.text), None) {
                notes.insert("inconsistent-reply");
            }
            if words.text.to_ascii_lowercase().contains("too many errors") {
                notes.insert("overload");
            }
        }
    }
    if codes.values().any(|codes| codes.len() > 1) {
        notes.insert("mixed-replies");
    }
    notes.into_iter().map(str::to_owned).collect()
}

/// Addresses of a named thing in text: all of them, or that it is all of them.
pub(crate) fn ips(ips: &[IpAddr]) -> String {
    list(ips)
}

pub(crate) const SECOND_WINDOW: &str = "a second window: the same cells again at least 15 minutes later";
pub(crate) const NEUTRAL: &str = "a neutral source (--neutral) of unrelated reputation at the same addresses";
pub(crate) const CONTROL: &str = "a control (--control): another provider, from the same sources";

/// An average, for sentences.
pub(crate) fn rate(count: Count) -> f64 {
    if count.tried == 0 { 0.0 } else { float(count.failed) / float(count.tried) }
}
