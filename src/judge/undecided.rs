//! Where the pattern does not decide: everything fails, or something does and no rule fits. Rows 16,
//! 17 and 20 of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Sign};
use super::matrix::{self, Count};
use super::pattern::{names_source, settle_pool, share};
use super::sentences::{self, CONTROL, NEUTRAL, SECOND_WINDOW, connections, diagnosis, main_sign, undecided};
use super::sequence::Sequence;
use super::time::windows;
use super::trial::Trial;
use super::{Found, SoFar};
use crate::catalog::Scope;
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere, Kind, Role};
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// Rows 16 and 17: everything fails, the neutral source too, or there is none.
pub(super) fn everything_fails(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let cells = matrix::cells(left, false);
    if !matrix::everything_fails(&cells) {
        return found;
    }
    let neutral = matrix::total(&cells, true);
    if neutral.cells.tried > 0 && !neutral.cells.mostly_failed() {
        return found;
    }
    let failures = left.iter().copied().filter(|t| t.failed());
    let (neutrals, own): (Vec<&Trial>, Vec<&Trial>) = failures.partition(|t| t.role == Role::Neutral);
    let Some(sign) = main_sign(case, &own) else { return found };
    let same = same_ending(case, sign, &neutrals);
    let mut d = match same {
        Some(sign) if sign.stage < Some(Stage::Mail) && (sign.stage > Some(Stage::Connect) || control_passes(case)) => {
            outage(case, left, &own, &neutrals)
        }
        _ => open(case, left, so_far, &own, &neutrals),
    };
    let total = matrix::total(&cells, false).sessions;
    (d.failed, d.tried) = (total.failed, total.tried);
    d.elsewhere = Elsewhere { failed: neutral.sessions.failed, tried: neutral.sessions.tried };
    (d.stage, d.code) = (sign.0.stage, sign.0.code);
    let all: Vec<_> = own.iter().chain(&neutrals).copied().collect();
    d.windows = windows(all.iter().copied());
    d.notes = sentences::notes(case, &all);
    found.diagnoses.push(d);
    found.explain(left, |_| true);
    found
}

/// The ending that own and neutral failures have in common, nearly all of them.
fn same_ending(case: &Case<'_>, (sign, own): (Sign, Count), neutrals: &[&Trial]) -> Option<Sign> {
    let (theirs, neutral) = main_sign(case, neutrals)?;
    (sign == theirs && own.mostly_failed() && neutral.mostly_failed()).then_some(sign)
}

/// Whether another provider answers, and none does not.
fn control_passes(case: &Case<'_>) -> bool {
    case.controls.values().any(|c| c.tried > c.unconnected) && case.controls.values().all(|c| c.unconnected == 0)
}

/// Row 16: the same ending for everybody before a sender was named.
fn outage(case: &Case<'_>, left: &[&Trial], own: &[&Trial], neutrals: &[&Trial]) -> Diagnosis {
    let sessions = |failures: &[&Trial]| failures.iter().map(|t| t.weight).sum::<u64>();
    let fewer = sessions(own).min(sessions(neutrals));
    let kind = DiagnosisKind::ReceiverOutage;
    let mut d = match fewer {
        3.. => diagnosis(kind, Confidence::High),
        2 => diagnosis(kind, Confidence::Medium),
        _ => undecided([kind, block_kind(left)], Some(kind)),
    };
    d.because.push(format!(
        "{} from our sources and {} from the neutral one failed alike, before a sender was named",
        connections(sessions(own)),
        connections(sessions(neutrals)),
    ));
    let all: Vec<_> = own.iter().chain(neutrals).copied().collect();
    d.because.extend(sentences::words(case, &all));
    if control_passes(case) {
        d.ruled_out.push("egress-blocked: another provider answers the same sources".to_owned());
    }
    if fewer < 3 {
        d.would_raise.push("three connections or more, from our sources and from the neutral one".to_owned());
    }
    if windows(all.iter().copied()) < 2 {
        d.would_raise.push(SECOND_WINDOW.to_owned());
    }
    if d.kind == kind {
        d.advice = "nothing to change on our side: keep the mail queued, lower the number of connections, and look \
                    again later"
            .into();
    }
    d
}

/// Everything fails and nothing tells a refused pool from an outage.
fn open(case: &Case<'_>, left: &[&Trial], so_far: &SoFar, own: &[&Trial], neutrals: &[&Trial]) -> Diagnosis {
    let mut kinds = BTreeSet::from([DiagnosisKind::ReceiverOutage]);
    kinds.extend(by_stage(own.iter().chain(neutrals).copied()));
    kinds.extend(so_far.suspects.iter().flat_map(|s| s.kinds.iter().copied()));
    if neutrals.is_empty() || kinds.len() < 2 {
        kinds.insert(block_kind(left));
    }
    let mut d = undecided(kinds.iter().copied(), leaning(case, so_far, &kinds, own));
    let count = |failures: &[&Trial]| connections(failures.iter().map(|t| t.weight).sum());
    d.because.push(if neutrals.is_empty() {
        format!("everything fails ({}), and there is no neutral source to compare with", count(own))
    } else {
        format!("everything fails, the neutral source too ({} and {})", count(own), count(neutrals))
    });
    let all: Vec<_> = own.iter().chain(neutrals).copied().collect();
    d.because.extend(sentences::words(case, &all));
    d.because.extend(so_far.suspects.iter().map(|s| s.because.clone()));
    d.because.extend(leaning_because(case, so_far, own));
    if neutrals.is_empty() {
        d.would_raise.extend(settle_pool());
    } else {
        d.would_raise.push("another sender, recipient or message (paired sessions)".to_owned());
        d.would_raise.push(SECOND_WINDOW.to_owned());
    }
    if case.controls.is_empty() {
        d.would_raise.push(CONTROL.to_owned());
    }
    if Case::own(left).len() == 1 {
        d.would_raise.push("more sources".to_owned());
    }
    d
}

/// A refused pool, or a refused address where there is only one.
fn block_kind(left: &[&Trial]) -> DiagnosisKind {
    if Case::own(left).len() == 1 { DiagnosisKind::SenderIpBlock } else { DiagnosisKind::SenderPoolBlock }
}

/// What else a refusal at these stages can be about.
pub(super) fn by_stage<'a>(failures: impl IntoIterator<Item = &'a Trial>) -> BTreeSet<DiagnosisKind> {
    use DiagnosisKind::{AuthOrFcrdns, ContentPolicy, EnvelopeDomain, Greylisting, Recipient};
    let mut kinds = BTreeSet::new();
    for t in failures.into_iter().filter(|t| t.kind == Kind::Rejected) {
        match t.stage {
            Some(Stage::Mail) => kinds.extend([EnvelopeDomain, AuthOrFcrdns]),
            Some(Stage::Rcpt | Stage::Data) => kinds.extend([Recipient, EnvelopeDomain, AuthOrFcrdns]),
            Some(Stage::EndOfData) => kinds.extend([Recipient, ContentPolicy, AuthOrFcrdns]),
            _ => {}
        }
        let before_message = matches!(t.stage, Some(Stage::Mail | Stage::Rcpt | Stage::Data));
        if before_message && t.code.is_some_and(|c| c.class() == Class::Transient) {
            kinds.insert(Greylisting);
        }
    }
    kinds
}

/// The one candidate that pattern or words speak for.
pub(super) fn leaning(
    case: &Case<'_>,
    so_far: &SoFar,
    kinds: &BTreeSet<DiagnosisKind>,
    failures: &[&Trial],
) -> Option<DiagnosisKind> {
    let patterns = so_far.suspects.iter().filter_map(|s| Some((s.pattern?, *s.kinds.first()?)));
    let pattern = patterns.filter(|(p, kind)| *p < 0.2 && kinds.contains(kind)).min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((_, kind)) = pattern {
        return Some(kind);
    }
    let mut votes: BTreeMap<DiagnosisKind, u64> = BTreeMap::new();
    let mut tried = 0;
    for t in failures {
        tried += t.weight;
        if let Some(kind) = words_for(case, so_far, kinds, t) {
            *votes.entry(kind).or_default() += t.weight;
        }
    }
    votes.into_iter().find(|(_, n)| Count { failed: *n, tried }.is_bad()).map(|(kind, _)| kind)
}

/// What one reply speaks for, by the address it names or by the catalogue.
fn words_for(case: &Case<'_>, so_far: &SoFar, kinds: &BTreeSet<DiagnosisKind>, t: &Trial) -> Option<DiagnosisKind> {
    use DiagnosisKind as D;
    let block = || [D::SenderIpBlock, D::SenderPoolBlock].into_iter().find(|k| kinds.contains(k));
    let kind = match case.rule(t).map(|rule| rule.scope) {
        Some(Scope::SenderIpReputation | Scope::SenderIpPolicy) => block(),
        Some(Scope::SenderDomainReputation) => Some(D::EnvelopeDomain),
        Some(Scope::SenderAuth | Scope::SenderDns) => Some(D::AuthOrFcrdns),
        Some(Scope::SenderContent) => Some(D::ContentPolicy),
        Some(Scope::Recipient | Scope::RecipientPolicy) => Some(D::Recipient),
        Some(Scope::ReceiverOutage | Scope::Receiver) => Some(D::ReceiverOutage),
        Some(Scope::Rate) => Some(D::RateLimited),
        _ if names_source(case, so_far, t) => block(),
        _ => None,
    };
    kind.filter(|k| kinds.contains(k))
}

fn leaning_because(case: &Case<'_>, so_far: &SoFar, failures: &[&Trial]) -> Option<String> {
    let named = share(failures, |t| names_source(case, so_far, t));
    (named.failed > 0).then(|| format!("the reply names the source in {} of {} failures", named.failed, named.tried))
}

/// Row 20: failures remain and nothing above holds.
pub(super) fn rest(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let own: Vec<&Trial> = left.iter().copied().filter(|t| t.role != Role::Neutral).collect();
    let failures: Vec<&Trial> = own.iter().copied().filter(|t| t.failed()).collect();
    if failures.is_empty() {
        return found;
    }
    let mut kinds: BTreeSet<_> = so_far.suspects.iter().flat_map(|s| s.kinds.iter().copied()).collect();
    kinds.insert(DiagnosisKind::ReceiverIntermittent);
    let units = |of: &dyn Fn(&Trial) -> Option<super::names::Addr>, trials: &[&Trial]| {
        trials.iter().filter_map(|t| of(t)).collect::<BTreeSet<_>>()
    };
    let lie_in = |of: &dyn Fn(&Trial) -> Option<super::names::Addr>| {
        let (bad, all) = (units(of, &failures), units(of, &own));
        (bad.len(), all.len())
    };
    let (sources, all_sources) = lie_in(&|t| t.source);
    let (addresses, all_addresses) = lie_in(&|t| t.address);
    if 2 * sources < all_sources {
        kinds.insert(DiagnosisKind::SenderIpBlock);
    }
    if 2 * addresses < all_addresses {
        kinds.insert(DiagnosisKind::ReceiverPartialOutage);
    }
    let sequence = Sequence::new(own.iter().copied());
    if sequence.one_stretch() || kinds.len() < 2 {
        kinds.insert(DiagnosisKind::ReceiverOutage);
    }
    let mut d = undecided(kinds.iter().copied(), leaning(case, so_far, &kinds, &failures));
    (d.failed, d.tried) = (sequence.failed, sequence.failed + sequence.passed);
    d.sources = case.ips(units(&|t| t.source, &failures));
    d.addresses = case.ips(units(&|t| t.address, &failures));
    if let Some((sign, _)) = main_sign(case, &failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    d.windows = windows(own.iter().copied());
    d.because.push(format!(
        "{}, at {sources} of {} and {addresses} of {}, and no rule fits",
        sentences::failed(Count { failed: d.failed, tried: d.tried }),
        sentences::plural(all_sources as u64, "source"),
        sentences::plural(all_addresses as u64, "address"),
    ));
    d.because.extend(so_far.suspects.iter().map(|s| s.because.clone()));
    d.because.extend(sentences::words(case, &failures));
    d.because.extend(sequence.said());
    let raise = so_far.suspects.iter().flat_map(|s| s.would_raise.iter().cloned());
    d.would_raise.extend(raise);
    d.would_raise.push(SECOND_WINDOW.to_owned());
    d.would_raise.push("more attempts in each cell: does a failing cell ever pass?".to_owned());
    if !left.iter().any(|t| t.role == Role::Neutral) && all_sources < 3 {
        d.would_raise.push(NEUTRAL.to_owned());
    }
    let mut said = BTreeSet::new();
    d.would_raise.retain(|s| said.insert(s.clone()));
    d.notes = sentences::notes(case, &failures);
    found.diagnoses.push(d);
    found.explain(left, |_| true);
    found
}
