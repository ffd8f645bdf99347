//! Where the failures lie decides whose they are: rows of the matrix are ours, columns are theirs.
//! Rows 13 to 16 and 18 of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Sign};
use super::evidence::Trial;
use super::matrix::{self, Count, Entry, Group, Totals, best_group, grade};
use super::names::{Addr, Name};
use super::sentences::{self, CONTROL, NEUTRAL, SECOND_WINDOW, diagnosis, list, main_sign, probability};
use super::time::windows;
use super::{Found, SoFar, Suspect};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere, Role};
use crate::stage::Stage;

/// Row 13: IPv6 addresses fail, IPv4 addresses pass.
pub(super) fn ipv6_only(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let cells = matrix::cells(left, false);
    let is_v6 = |address: Addr| case.ip(address).is_ipv6();
    let entries: Vec<_> =
        cells.iter().map(|cell| Entry { unit: is_v6(cell.address), over: cell.source, nameable: true, cell }).collect();
    let Some(group) = best_group(&entries, false, 2).filter(|g| g.units == [true]) else { return found };
    let here = |t: &Trial| t.address.is_some_and(is_v6);
    let in_time = passed_meanwhile(left, group.question, here, |t| !here(t));
    let because = sentences::compared(&group, "address family");
    match group.grade().filter(|_| in_time) {
        Some(confidence) => {
            let named = Named { confidence, group: &group, failures: failures(left, group.question, here) };
            let mut d = named.diagnosis(case, DiagnosisKind::Ipv6Only, left, here, |t| !here(t));
            d.addresses = case.ips(left.iter().filter_map(|t| t.address).filter(|&a| is_v6(a)));
            d.because.insert(0, format!("every family but IPv6 gets through: {because}"));
            d.advice = "send over IPv4 until the IPv6 path, PTR and SPF of these sources are in order".into();
            if confidence < Confidence::High {
                d.would_raise.push("more IPv6 addresses or sources".to_owned());
                d.would_raise.push(SECOND_WINDOW.to_owned());
            }
            found.diagnoses.push(d);
            found.explain(left, here);
        }
        None => found.suspects.push(suspect(&group, &[DiagnosisKind::Ipv6Only], because, in_time)),
    }
    found
}

/// Row 14: some of our sources fail where another passes.
pub(super) fn sender_ip_block(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let mut remaining = left.to_vec();
    let mut named: BTreeSet<Addr> = BTreeSet::new();
    loop {
        let cells = matrix::cells(&remaining, false);
        if matrix::everything_fails(&cells) {
            break;
        }
        let entries: Vec<_> = cells
            .iter()
            .map(|cell| Entry { unit: cell.source, over: cell.address, nameable: !cell.neutral, cell })
            .collect();
        let families = 2 + u64::from(matrix::has_backends(&remaining));
        let Some(group) = best_group(&entries, true, families) else { break };
        let within = |t: &Trial| t.address.is_some_and(|a| group.over.contains(&a));
        let here = |t: &Trial| within(t) && t.source.is_some_and(|s| group.units.contains(&s));
        let rest = |t: &Trial| within(t) && !here(t);
        let in_time = passed_meanwhile(&remaining, group.question, here, rest);
        let because = format!(
            "{} where another source passes: {}",
            sentences::ips(&case.ips(group.units.iter().copied())),
            sentences::compared(&group, "source")
        );
        if behind_own_backends(&remaining, &group.units) {
            let kinds = [DiagnosisKind::SenderIpBlock, DiagnosisKind::ReceiverPartialOutage];
            let mut s = suspect(&group, &kinds, because, in_time);
            s.because += "; but these sources meet only backends that no other source meets";
            s.would_raise = vec!["more sources, so that each backend meets several".to_owned()];
            found.suspects.push(s);
            break;
        }
        let Some(confidence) = group.grade().filter(|_| in_time) else {
            found.suspects.push(suspect(&group, &[DiagnosisKind::SenderIpBlock], because, in_time));
            break;
        };
        let parts = by_reply(case, failures(&remaining, group.question, here));
        let mut blocked: BTreeSet<Addr> = BTreeSet::new();
        for (sources, failures) in &parts {
            let part = group.part(&cells, sources);
            if !part.here.cells.mostly_failed() {
                continue;
            }
            // A part that stands alone, because another was there by chance, must hold alone.
            let whole = parts.iter().all(|(s, _)| group.part(&cells, s).here.cells.mostly_failed());
            let (confidence, group) = if whole { (Some(confidence), &group) } else { (part.grade(), &part) };
            let Some(confidence) = confidence else { continue };
            let here = |t: &Trial| within(t) && t.source.is_some_and(|s| sources.contains(&s));
            let failures = failures.clone();
            let mut d = Named { confidence, group, failures }.block(case, so_far, &remaining, here, rest);
            d.because.insert(0, because.clone());
            found.diagnoses.push(d);
            blocked.extend(sources);
        }
        if blocked.is_empty() {
            found.suspects.push(suspect(&group, &[DiagnosisKind::SenderIpBlock], because, in_time));
            break;
        }
        remaining.retain(|t| t.source.is_none_or(|s| !blocked.contains(&s)));
        named.append(&mut blocked);
    }
    found.explain(left, |t| t.source.is_some_and(|s| named.contains(&s)));
    found
}

/// Row 15: everything fails, and a neutral source passes.
pub(super) fn sender_pool_block(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let cells = matrix::cells(left, false);
    let (own, neutral) = (matrix::total(&cells, false), matrix::total(&cells, true));
    if !matrix::everything_fails(&cells) || !neutral.cells.mostly_passed() {
        return found;
    }
    let sources = Case::own(left);
    let kind = if sources.len() == 1 { DiagnosisKind::SenderIpBlock } else { DiagnosisKind::SenderPoolBlock };
    let group = Group {
        units: sources.iter().copied().collect(),
        question: None,
        over: BTreeSet::new(),
        here: own,
        rest: neutral,
        chosen: sources.len() as u64,
        among: sources.len() as u64,
        families: 1,
        p: own.cells.against(neutral.cells),
        p_sessions: own.sessions.against(neutral.sessions),
    };
    let (here, rest) = (|t: &Trial| t.role != Role::Neutral, |t: &Trial| t.role == Role::Neutral);
    let in_time = passed_meanwhile(left, None, here, rest);
    let because = format!(
        "everything fails from {}, and the neutral source passes: {}",
        sentences::ips(&case.ips(sources.iter().copied())),
        neutral_compared(own, neutral, &group),
    );
    let Some(confidence) = grade(group.p, group.p_sessions).filter(|_| in_time) else {
        found.suspects.push(suspect(&group, &[kind, DiagnosisKind::ReceiverOutage], because, in_time));
        return found;
    };
    let named = Named { confidence, group: &group, failures: failures(left, None, here) };
    let mut d = if kind == DiagnosisKind::SenderIpBlock {
        let mut d = named.block(case, so_far, left, here, rest);
        d.confidence = confidence;
        d
    } else {
        let mut d = named.diagnosis(case, kind, left, here, rest);
        d.sources = case.ips(sources);
        d.advice = "hold the whole pool back from this provider, and ask its postmaster with the replies at hand: \
                    the sender is refused, not the mail"
            .into();
        d
    };
    d.because.insert(0, because);
    if confidence < Confidence::High {
        d.would_raise.push("more addresses, or more attempts, for the neutral source".to_owned());
    }
    found.diagnoses.push(d);
    found.explain(left, |_| true);
    found
}

fn neutral_compared(own: Totals, neutral: Totals, group: &Group<Addr>) -> String {
    format!(
        "{} of {} cells failed against {} of {} of the neutral source ({}; in connections {} of {} against {} of {}, {})",
        own.cells.failed,
        own.cells.tried,
        neutral.cells.failed,
        neutral.cells.tried,
        probability(group.p),
        own.sessions.failed,
        own.sessions.tried,
        neutral.sessions.failed,
        neutral.sessions.tried,
        probability(group.p_sessions),
    )
}

/// Row 18: some of their addresses or backends fail for the sources not yet explained.
pub(super) fn receiver_partial_outage(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let mut remaining = without_sick_neutrals(left);
    let backends = matrix::has_backends(&remaining);
    let families = 2 + u64::from(backends);
    let mut gone: BTreeSet<Unit> = BTreeSet::new();
    loop {
        let by_address = matrix::cells(&remaining, false);
        let by_backend = if backends { matrix::cells(&remaining, true) } else { Vec::new() };
        let addresses = by_address.iter().map(|cell| (Unit::Address(cell.address), cell));
        let behind = by_backend.iter().filter_map(|cell| Some((Unit::Backend(cell.backend?), cell)));
        let group = |entries: &mut dyn Iterator<Item = (Unit, &matrix::Cell)>| {
            let entry = |(unit, cell)| Entry { unit, over: cell_source(cell), nameable: true, cell };
            best_group(&entries.map(entry).collect::<Vec<_>>(), false, families)
        };
        let groups = [group(&mut addresses.into_iter()), group(&mut behind.into_iter())];
        let best =
            groups.into_iter().flatten().min_by(|a, b| a.p.total_cmp(&b.p).then(a.p_sessions.total_cmp(&b.p_sessions)));
        let Some(group) = best else { break };
        let here = |t: &Trial| group.units.iter().any(|u| u.holds(t));
        let is_backend = matches!(group.units.first(), Some(Unit::Backend(_)));
        let rest = |t: &Trial| !here(t) && (!is_backend || t.backend.is_some());
        let in_time = passed_meanwhile(&remaining, group.question, here, rest);
        let (what, units) = if is_backend { ("backend", "backends") } else { ("address", "addresses") };
        let because = format!(
            "{} {} for every source: {}",
            if group.units.len() == 1 { what } else { units },
            list(group.units.iter().map(|u| u.title(case))),
            sentences::compared(&group, what)
        );
        if is_backend && own_sources(&remaining, here, rest) {
            let kinds = [DiagnosisKind::SenderIpBlock, DiagnosisKind::ReceiverPartialOutage];
            let mut s = suspect(&group, &kinds, because, in_time);
            s.because += "; but the sources that meet them meet no other backend";
            s.would_raise = vec!["more sources, so that each backend meets several".to_owned()];
            found.suspects.push(s);
            break;
        }
        let Some(confidence) = group.grade().filter(|_| in_time) else {
            found.suspects.push(suspect(&group, &[DiagnosisKind::ReceiverPartialOutage], because, in_time));
            break;
        };
        let named = Named { confidence, group: &group, failures: failures(&remaining, group.question, here) };
        let mut d = named.diagnosis(case, DiagnosisKind::ReceiverPartialOutage, &remaining, here, rest);
        for unit in &group.units {
            match *unit {
                Unit::Address(a) => d.addresses.push(case.ip(a)),
                Unit::Backend(b) => d.backends.push(case.names().text(b).to_owned()),
            }
        }
        d.addresses.sort_unstable();
        if is_backend {
            d.addresses = case.ips(remaining.iter().filter(|t| here(t)).filter_map(|t| t.address));
        }
        d.because.insert(0, because);
        d.advice = "nothing to change on our side: mail servers go on to the other addresses, deliveries are late at \
                    worst; report it to the provider's postmaster if it lasts"
            .into();
        if confidence < Confidence::High {
            d.would_raise.push("more sources, or more attempts".to_owned());
        }
        if d.windows < 2 {
            d.would_raise.push(SECOND_WINDOW.to_owned());
        }
        found.diagnoses.push(d);
        remaining.retain(|t| !group.units.iter().any(|u| u.holds(t)));
        gone.extend(group.units);
    }
    found.explain(left, |t| gone.iter().any(|u| u.holds(t)));
    found
}

const fn cell_source(cell: &matrix::Cell) -> Addr {
    cell.source
}

/// What a column is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Unit {
    Address(Addr),
    Backend(Name),
}

impl Unit {
    fn holds(self, t: &Trial) -> bool {
        match self {
            Self::Address(a) => t.address == Some(a),
            Self::Backend(b) => t.backend == Some(b),
        }
    }

    fn title(self, case: &Case<'_>) -> String {
        match self {
            Self::Address(a) => case.ip(a).to_string(),
            Self::Backend(b) => case.names().text(b).to_owned(),
        }
    }
}

/// A neutral source that is refused itself says nothing of the addresses.
pub(super) fn without_sick_neutrals<'t>(left: &[&'t Trial]) -> Vec<&'t Trial> {
    let mut rows: BTreeMap<Addr, Count> = BTreeMap::new();
    for cell in matrix::cells(left, false).iter().filter(|c| c.neutral) {
        let bad = u64::from(cell.count(None).is_bad());
        rows.entry(cell.source).or_default().add(Count { failed: bad, tried: 1 });
    }
    let sick = |t: &&Trial| t.source.and_then(|s| rows.get(&s)).is_some_and(|c| c.mostly_failed());
    left.iter().filter(|t| !sick(t)).copied().collect()
}

/// A group that the rule has named.
struct Named<'a, U> {
    confidence: Confidence,
    group: &'a Group<U>,
    failures: Vec<&'a Trial>,
}

impl<U> Named<'_, U> {
    /// The diagnosis with its counts, main ending, words and times.
    fn diagnosis(
        &self,
        case: &Case<'_>,
        kind: DiagnosisKind,
        trials: &[&Trial],
        here: impl Fn(&Trial) -> bool,
        rest: impl Fn(&Trial) -> bool,
    ) -> Diagnosis {
        let question = self.group.question;
        let mut d = diagnosis(kind, self.confidence);
        let (count, elsewhere) = (count(trials, question, &here), count(trials, question, rest));
        (d.failed, d.tried) = (count.failed, count.tried);
        d.elsewhere = Elsewhere { failed: elsewhere.failed, tried: elsewhere.tried };
        d.p = Some(self.group.deciding_p());
        if let Some((sign, _)) = main_sign(case, &self.failures) {
            (d.stage, d.code) = (sign.stage, sign.code);
        }
        d.windows = windows(self.failures.iter().copied());
        d.because.extend(sentences::words(case, &self.failures));
        d.because.extend(since(trials, &here, &self.failures));
        d.notes = sentences::notes(case, &self.failures);
        d
    }

    /// `sender-ip-block` of the sources of these failures.
    fn block(
        &self,
        case: &Case<'_>,
        so_far: &SoFar,
        trials: &[&Trial],
        here: impl Fn(&Trial) -> bool,
        rest: impl Fn(&Trial) -> bool,
    ) -> Diagnosis {
        let mut d = self.diagnosis(case, DiagnosisKind::SenderIpBlock, trials, here, rest);
        d.sources = case.ips(self.failures.iter().filter_map(|t| t.source));
        let names = share(&self.failures, |t| names_source(case, so_far, t));
        let sender = share(&self.failures, |t| case.rule(t).is_some_and(|r| r.scope.is_sender()));
        if names.is_bad() {
            d.because.push(format!("the reply names the source in {} of {} failures", names.failed, names.tried));
        }
        if sender.is_bad() {
            let say = |t: &&&Trial| case.rule(t).filter(|r| r.scope.is_sender());
            let rule = self.failures.iter().find_map(|t| say(&t));
            d.because.extend(rule.map(|r| format!("words of this kind are about the sender on record ({})", r.scope)));
        }
        if d.windows >= 2 {
            d.because.push(format!("the same cells failed in {} windows at least 15 minutes apart", d.windows));
        }
        if !(names.is_bad() || sender.is_bad() || d.windows >= 2) {
            d.confidence = d.confidence.min(Confidence::Medium);
        }
        if d.confidence < Confidence::High {
            if d.windows < 2 {
                d.would_raise.push(SECOND_WINDOW.to_owned());
            }
            if self.group.p >= 0.01 {
                d.would_raise.push("more addresses of the target, or more sources that pass".to_owned());
            }
        }
        let controls: Vec<_> = self.failures.iter().filter_map(|t| case.controls.get(&t.source?)).collect();
        if controls.is_empty() {
            d.would_raise.push(CONTROL.to_owned());
        } else if controls.iter().all(|c| c.passed > 0) {
            d.ruled_out.push("egress-blocked: another provider answers the same sources".to_owned());
        }
        d.advice = match self.failures.iter().find_map(|t| case.rule(t).filter(|r| r.scope.is_sender())) {
            Some(rule) => format!("hold these sources back from this provider; {}", rule.advice),
            None => "hold these sources back from this provider, and ask its postmaster with the replies at hand; do \
                     not move their mail to another source"
                .to_owned(),
        };
        d
    }
}

/// Whether a reply names the source that it refuses.
pub(super) fn names_source(case: &Case<'_>, so_far: &SoFar, t: &Trial) -> bool {
    let (Some(source), Some(words)) = (t.source, t.said.and_then(|s| case.names().words(s))) else { return false };
    let seen = so_far.seen_as.get(&source);
    words.named.iter().any(|ip| {
        *ip == case.ip(source)
            || t.seen_as.is_some_and(|a| case.ip(a) == *ip)
            || seen.is_some_and(|seen| seen.contains(ip))
    })
}

/// How many of these trials are so.
pub(super) fn share(trials: &[&Trial], is_so: impl Fn(&Trial) -> bool) -> Count {
    trials.iter().fold(Count::default(), |mut count, t| {
        count.add(Count { failed: if is_so(t) { t.weight } else { 0 }, tried: t.weight });
        count
    })
}

fn suspect<U>(group: &Group<U>, kinds: &[DiagnosisKind], mut because: String, in_time: bool) -> Suspect {
    let mut kinds = kinds.to_vec();
    let mut would_raise = vec![SECOND_WINDOW.to_owned()];
    if !in_time {
        kinds.push(DiagnosisKind::ReceiverOutage);
        because += "; but nothing of the rest passed between the first of these failures and the last, so an outage \
                    may have begun or ended meanwhile";
        would_raise.push("cells run in random order, with passes and failures side by side in time".to_owned());
    }
    if group.grade().is_none() {
        would_raise.push("more sources, more addresses, or more attempts".to_owned());
    }
    Suspect { kinds, because, would_raise, pattern: Some(group.deciding_p()), bars_intermittent: true }
}

/// The trials of a group that failed at the stage under question.
fn failures<'t>(trials: &[&'t Trial], question: Option<Stage>, here: impl Fn(&Trial) -> bool) -> Vec<&'t Trial> {
    trials.iter().filter(|t| here(t) && t.failed_at(question) == Some(true)).copied().collect()
}

fn count(trials: &[&Trial], question: Option<Stage>, within: impl Fn(&Trial) -> bool) -> Count {
    let mut count = Count::default();
    for t in trials.iter().filter(|t| within(t)) {
        if let Some(failed) = t.failed_at(question) {
            count.add(Count { failed: if failed { t.weight } else { 0 }, tried: t.weight });
        }
    }
    count
}

/// Whether something of the rest passed between the group's first and last failure: if not, time
/// explains the group as well as place does.
fn passed_meanwhile(
    trials: &[&Trial],
    question: Option<Stage>,
    here: impl Fn(&Trial) -> bool,
    rest: impl Fn(&Trial) -> bool,
) -> bool {
    let failed = trials.iter().filter(|t| here(t) && t.failed_at(question) == Some(true));
    sentences::span(failed.copied()).is_some_and(|(first, last)| {
        let within = trials.iter().filter(|t| first <= t.at && t.at <= last);
        within.into_iter().any(|t| rest(t) && t.failed_at(question) == Some(false))
    })
}

/// When it failed, and between which times it began and ended, where that is on record.
fn since(trials: &[&Trial], here: impl Fn(&Trial) -> bool, failures: &[&Trial]) -> Option<String> {
    let (first, last) = sentences::span(failures.iter().copied())?;
    let passed = || trials.iter().filter(|t| here(t) && !t.failed()).map(|t| t.at);
    let before = passed().filter(|&at| at < first).max();
    let after = passed().filter(|&at| at > last).min();
    let at = |what: &str, at: Option<i64>| {
        at.map(|at| format!("; {what} was at {}", sentences::time(at))).unwrap_or_default()
    };
    Some(format!(
        "failures from {} to {}{}{}",
        sentences::time(first),
        sentences::time(last),
        at("the last pass before", before),
        at("the first pass after", after)
    ))
}

/// The failing sources, those with the same stage and reply together.
fn by_reply<'t>(case: &Case<'_>, failures: Vec<&'t Trial>) -> Vec<(BTreeSet<Addr>, Vec<&'t Trial>)> {
    let mut of_source: BTreeMap<Addr, Vec<&Trial>> = BTreeMap::new();
    for t in failures {
        if let Some(source) = t.source {
            of_source.entry(source).or_default().push(t);
        }
    }
    let mut parts: BTreeMap<Option<Sign>, (BTreeSet<Addr>, Vec<&Trial>)> = BTreeMap::new();
    for (source, failures) in of_source {
        let part = parts.entry(main_sign(case, &failures).map(|(sign, _)| sign)).or_default();
        part.0.insert(source);
        part.1.extend(failures);
    }
    parts.into_values().collect()
}

/// Whether these sources meet only backends that no other source meets, so that source and
/// backend cannot be told apart.
fn behind_own_backends(trials: &[&Trial], sources: &[Addr]) -> bool {
    if !matrix::has_backends(trials) {
        return false;
    }
    let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for t in trials {
        if let (Some(source), Some(backend)) = (t.source, t.backend) {
            if sources.contains(&source) {
                here.insert(backend)
            } else {
                elsewhere.insert(backend)
            };
        }
    }
    !here.is_empty() && here.is_disjoint(&elsewhere)
}

/// Whether the sources that meet these backends meet no other.
fn own_sources(trials: &[&Trial], here: impl Fn(&Trial) -> bool, rest: impl Fn(&Trial) -> bool) -> bool {
    let sources = |of: &dyn Fn(&Trial) -> bool| -> BTreeSet<Addr> {
        trials.iter().filter(|t| of(t)).filter_map(|t| t.source).collect()
    };
    sources(&|t| here(t)).is_disjoint(&sources(&|t| rest(t)))
}

/// What tells a refused pool from an outage.
pub(super) fn settle_pool() -> Vec<String> {
    vec![NEUTRAL.to_owned(), SECOND_WINDOW.to_owned()]
}
