//! Rows of the matrix: our own sources, some or all, are refused where others pass. Rows 14 and 15 of
//! the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Sign};
use super::matrix::{self, Count, Entry, Group, Totals, best_group, grade};
use super::names::Addr;
use super::pattern::{Named, failures, passed_meanwhile, suspect};
use super::sentences::{self, main_sign, probability};
use super::trial::Trial;
use super::{Found, SoFar};
use crate::record::{Confidence, DiagnosisKind, Role};

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
            if !part.here.cells.mostly_failed() || !fails_at_every_backend(&remaining, &part) {
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

/// Whether the sources fail at nearly every backend they meet: else a backend is to blame.
fn fails_at_every_backend(trials: &[&Trial], group: &Group<Addr>) -> bool {
    let mut cells: BTreeMap<_, Count> = BTreeMap::new();
    for t in trials {
        let within = t.address.is_some_and(|a| group.over.contains(&a));
        let here = within && t.source.is_some_and(|s| group.units.contains(&s));
        if let Some(failed) = t.failed_at(group.question).filter(|_| here) {
            let count = Count { failed: if failed { t.weight } else { 0 }, tried: t.weight };
            cells.entry((t.source, t.address, t.backend)).or_default().add(count);
        }
    }
    let mut count = Count::default();
    for cell in cells.into_values() {
        count.add(Count { failed: u64::from(cell.is_bad()), tried: 1 });
    }
    count.mostly_failed()
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
