//! Pairs: two sessions alike in all but one thing, one of which fails. Rows 8 and 9 of the table.
//!
//! Apart because a pair needs no matrix: source, address and time are the same on both sides, so the
//! one thing that differs is what is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::matrix::Count;
use super::names::{Addr, Name};
use super::sentences::{self, diagnosis, list, main_sign, plural, sessions, visible};
use super::time::{is_plain, same_time, windows};
use super::trial::Trial;
use super::{Found, SoFar, Suspect};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere, Kind, Role, Variant};
use crate::stage::Stage;

/// How many pairs speak for a difference, and how many the other way.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Those of which one half fails: that half.
    one_way: Vec<Trial>,
    other_way: u64,
}

impl Tally {
    fn pairs(&self) -> u64 {
        sessions(&self.one_way)
    }

    /// The table's thresholds; a single pair is a candidate.
    fn confidence(&self) -> Option<Confidence> {
        match self.pairs() {
            _ if self.other_way > 0 => None,
            3.. => Some(Confidence::High),
            2 => Some(Confidence::Medium),
            _ => None,
        }
    }

    fn is_candidate(&self) -> bool {
        self.pairs() == 1 && self.other_way == 0
    }
}

/// Pairs each of `suspected` with one of `others` of the same source, address and recipient (unless
/// that is what differs) at the same time, and looks at those that both came to the stage.
fn tally(
    left: &[&Trial],
    suspected: impl Fn(&Trial) -> bool,
    other: impl Fn(&Trial) -> bool,
    outcome: impl Fn(&Trial) -> Option<bool>,
    by_recipient: bool,
) -> Tally {
    type Key = (Option<Addr>, Option<Addr>, Option<Name>);
    let mut cells: BTreeMap<Key, (Vec<Trial>, Vec<Trial>)> = BTreeMap::new();
    // Of two recipients without names nobody knows whether they are the same.
    for &&t in left.iter().filter(|t| !t.counted() && !t.nameless) {
        let cell = || (t.source, t.address, t.to.filter(|_| by_recipient));
        if suspected(&t) {
            cells.entry(cell()).or_default().0.push(t);
        } else if other(&t) {
            cells.entry(cell()).or_default().1.push(t);
        }
    }
    let mut tally = Tally::default();
    for (mine, mut free) in cells.into_values() {
        for mut a in mine {
            // Many sessions in one are paired with as many, and of those at the same time first with
            // their like: a difference must show whatever their order was.
            let (many, mine) = (a.weight > 1, outcome(&a));
            let differs = |b: &Trial| (many || b.weight > 1) && mine != outcome(b);
            while a.weight > 0 {
                let near = free.iter_mut().enumerate().filter(|(_, b)| same_time(&a, b));
                let nearest = near.min_by_key(|(_, b)| (a.apart(b), differs(b), b.at));
                let Some((at, b)) = nearest else { break };
                let pairs = a.weight.min(b.weight);
                match (mine, outcome(b)) {
                    (Some(true), Some(false)) => tally.one_way.push(Trial { weight: pairs, ..a }),
                    (Some(false), Some(true)) => tally.other_way += pairs,
                    _ => {}
                }
                a.weight -= pairs;
                b.weight -= pairs;
                if b.weight == 0 {
                    free.remove(at);
                }
            }
        }
    }
    tally
}

/// Whether a session failed at this stage or later; `None` where it ended before.
fn bad_from(t: &Trial, stage: Stage) -> Option<bool> {
    t.failed_at(Some(stage)).map(|_| t.failed())
}

/// Row 8: the handshake fails where the clear passes.
pub(super) fn tls_fault(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let broken = |t: &Trial| t.kind == Kind::TlsFailed && t.stage.is_some_and(|s| s <= Stage::Tls);
    let failures: Vec<&Trial> = left.iter().copied().filter(|t| broken(t)).collect();
    // A second session in the clear stands in for the first only where the handshake is to blame.
    let second = |t: &Trial| t.variant == Variant::Plaintext;
    if failures.is_empty() {
        found.explain(left, second);
        return found;
    }
    let outcome = |t: &Trial| if broken(t) { Some(true) } else { t.failed_at(Some(Stage::Tls)) };
    let handshake = |t: &Trial| t.variant != Variant::Plaintext && (broken(t) || shook_hands(t));
    let paired = tally(left, handshake, |t| t.variant == Variant::Plaintext, |t| outcome(t), true);
    let mut columns: BTreeMap<Addr, Count> = BTreeMap::new();
    for t in left.iter().filter(|t| handshake(t)) {
        if let Some(address) = t.address {
            let count = Count { failed: if broken(t) { t.weight } else { 0 }, tried: t.weight };
            columns.entry(address).or_default().add(count);
        }
    }
    let whole: BTreeSet<Addr> = columns.iter().filter(|(_, c)| c.failed == c.tried).map(|(a, _)| *a).collect();
    let all = whole.len() == columns.len();
    let in_whole: u64 = whole.iter().filter_map(|a| columns.get(a)).map(|c| c.tried).sum();
    // One broken handshake is one event, whatever share of its column that is.
    let unpaired = if paired.other_way == 0 && in_whole >= 2 { Some(Confidence::Medium) } else { None };
    let Some(confidence) = paired.confidence().or(unpaired) else {
        found.explain(left, second);
        if paired.other_way == 0 && (paired.is_candidate() || !whole.is_empty()) {
            found.suspects.push(Suspect {
                kinds: vec![DiagnosisKind::TlsFault],
                because: format!("{} in the TLS handshake", plural(sessions(failures.iter().copied()), "failure")),
                would_raise: vec!["the same cells again without STARTTLS (--pair-plaintext)".to_owned()],
                pattern: None,
                bars_intermittent: false,
            });
        }
        return found;
    };
    let from_pairs: BTreeSet<Addr> = paired.one_way.iter().filter_map(|t| t.address).collect();
    let scope: BTreeSet<Addr> = if paired.confidence().is_some() { &from_pairs | &whole } else { whole };
    let here = |t: &Trial| broken(t) && t.address.is_some_and(|a| scope.contains(&a));
    let named: Vec<&Trial> = failures.iter().copied().filter(|t| here(t)).collect();
    let mut d = about(case, DiagnosisKind::TlsFault, confidence, left, &named);
    if !all {
        d.addresses = case.ips(scope.iter().copied());
    }
    if paired.pairs() > 0 {
        d.because.push(format!(
            "in {} the handshake fails and the same session without STARTTLS passes, never the other way round",
            plural(paired.pairs(), "pair")
        ));
    } else {
        d.because.push(format!("every TLS session fails in the handshake: {in_whole} of {in_whole}"));
    }
    let controls: Vec<&Trial> = case.ground.controls.iter().filter(|t| broken(t) || shook_hands(t)).collect();
    let every_provider = !controls.is_empty() && controls.iter().all(|t| broken(t));
    d.because.push(match (every_provider, all) {
        (true, _) => "the handshake fails at every provider, so the fault is likely on our side".to_owned(),
        (false, true) => "at all addresses of the target".to_owned(),
        (false, false) => format!("at {} and not at the others", sentences::ips(&d.addresses)),
    });
    d.because.extend(sentences::words(case, &named));
    d.advice = if every_provider {
        "look at this host's TLS library, clock and middleboxes first".to_owned()
    } else {
        "mail to these addresses goes in the clear or not at all: tell the provider's postmaster, and look for a \
         middlebox on the way"
            .to_owned()
    };
    if confidence < Confidence::High {
        d.would_raise.push("three pairs with the same session without STARTTLS (--pair-plaintext)".to_owned());
    }
    if controls.is_empty() {
        d.would_raise.push("a control with TLS, to tell their fault from ours".to_owned());
    }
    found.diagnoses.push(d);
    found.excuse(left, here);
    found.explain(left, |t| second(t) && t.address.is_none_or(|a| !scope.contains(&a)));
    found
}

/// Whether a session came through a handshake.
fn shook_hands(t: &Trial) -> bool {
    t.tls && t.kind != Kind::TlsFailed
}

/// Row 9, first: one recipient is refused where another passes.
pub(super) fn recipient(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    // Of many recipients only those that are refused are compared, and only where they were tried.
    let mut cells: BTreeMap<_, Vec<&Trial>> = BTreeMap::new();
    let mut refused: BTreeMap<Name, (bool, BTreeSet<_>)> = BTreeMap::new();
    for &t in left.iter().filter(|t| is_plain(t)) {
        let (Some(to), cell) = (t.to, (t.source, t.address)) else { continue };
        cells.entry(cell).or_default().push(t);
        let (bad, places) = refused.entry(to).or_default();
        *bad |= bad_from(t, Stage::Rcpt) == Some(true);
        places.insert(cell);
    }
    let tried = |places: &BTreeSet<_>| places.iter().filter_map(|cell| cells.get(cell)).flatten().copied().collect();
    let mut tallies: Vec<(Name, Tally)> = refused
        .iter()
        .filter(|(_, (bad, _))| *bad)
        .map(|(&to, (_, places))| {
            let near: Vec<&Trial> = tried(places);
            (to, tally(&near, |t| t.to == Some(to), |t| t.to != Some(to), |t| bad_from(t, Stage::Rcpt), false))
        })
        .collect();
    // A recipient that also passes while another fails is not the difference.
    tallies.retain(|(_, tally)| tally.other_way == 0 && tally.pairs() > 0);
    for confidence in [Some(Confidence::High), Some(Confidence::Medium), None] {
        let of = tallies.iter().filter(|(_, t)| t.confidence() == confidence);
        let (names, refused): (Vec<Name>, Vec<&Tally>) = of.map(|(name, tally)| (*name, tally)).unzip();
        if names.is_empty() {
            continue;
        }
        let failures: Vec<&Trial> = refused.iter().flat_map(|t| &t.one_way).collect();
        let who = list(names.iter().map(|n| case.names().text(*n)));
        let pairs = plural(sessions(failures.iter().copied()), "pair");
        let because = format!(
            "{who} is refused where another recipient passes, from the same source at the same address: {pairs}, never the other way round"
        );
        let is_theirs = |t: &Trial| {
            t.to.is_some_and(|to| names.binary_search(&to).is_ok()) && bad_from(t, Stage::Rcpt) == Some(true)
        };
        decide(case, left, DiagnosisKind::Recipient, confidence, because, &failures, is_theirs, &mut found);
    }
    found
}

/// Row 9, second: the campaign's envelope sender is refused where a neutral one passes.
pub(super) fn envelope_domain(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let because = "the campaign's envelope sender is refused where a neutral one passes";
    by_variant(case, left, Variant::NeutralFrom, Stage::Mail, DiagnosisKind::EnvelopeDomain, because)
}

/// Row 9, third: the campaign's message is refused at its end where a plain one passes.
pub(super) fn content_policy(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let because = "the campaign's message is refused at its end where a plain one passes";
    by_variant(case, left, Variant::ControlMessage, Stage::EndOfData, DiagnosisKind::ContentPolicy, because)
}

fn by_variant(
    case: &Case<'_>,
    left: &[&Trial],
    control: Variant,
    stage: Stage,
    kind: DiagnosisKind,
    because: &str,
) -> Found {
    let mut found = Found::default();
    let tally = tally(left, is_plain, |t| t.variant == control, |t| bad_from(t, stage), true);
    if tally.pairs() == 0 || tally.other_way > 0 {
        return found;
    }
    let pairs = plural(tally.pairs(), "pair");
    let because = format!("{because}, from the same source at the same address: {pairs}, never the other way round");
    let is_theirs = |t: &Trial| is_plain(t) && bad_from(t, stage) == Some(true);
    let failures: Vec<&Trial> = tally.one_way.iter().collect();
    decide(case, left, kind, tally.confidence(), because, &failures, is_theirs, &mut found);
    found
}

/// Names what pairs show, or keeps it as a candidate.
#[expect(clippy::too_many_arguments, reason = "what two rows of the table share")]
fn decide(
    case: &Case<'_>,
    left: &[&Trial],
    kind: DiagnosisKind,
    confidence: Option<Confidence>,
    because: String,
    failures: &[&Trial],
    is_theirs: impl Fn(&Trial) -> bool,
    found: &mut Found,
) {
    let raise = "three pairs of sessions that differ in this alone";
    let Some(confidence) = confidence else {
        found.suspects.push(Suspect {
            kinds: vec![kind],
            because,
            would_raise: vec![raise.to_owned()],
            pattern: Some(0.1),
            bars_intermittent: true,
        });
        return;
    };
    let mut d = about(case, kind, confidence, left, failures);
    d.because.insert(0, because);
    d.because.extend(sentences::words(case, failures));
    if confidence < Confidence::High {
        d.would_raise.push(raise.to_owned());
    }
    d.advice = match kind {
        DiagnosisKind::Recipient => {
            "take the recipient off the list, or ask its owner; the address we send from is fine"
        }
        DiagnosisKind::EnvelopeDomain => {
            "the domain in the envelope is what is refused: look at its reputation, SPF and DMARC; another address of \
             ours would fare no better"
        }
        _ => "the message is what is refused: take out links and parts one by one, with the plain message beside it",
    }
    .into();
    found.diagnoses.push(d);
    found.excuse(left, is_theirs);
}

/// A diagnosis with the counts and the main ending of these failures.
fn about(
    case: &Case<'_>,
    kind: DiagnosisKind,
    confidence: Confidence,
    left: &[&Trial],
    failures: &[&Trial],
) -> Diagnosis {
    let mut d = diagnosis(kind, confidence);
    d.failed = failures.iter().map(|t| t.weight).sum();
    d.tried = d.failed;
    let all = |bad: bool| left.iter().filter(|t| t.failed() || !bad).map(|t| t.weight).sum::<u64>();
    d.elsewhere = Elsewhere { failed: all(true).saturating_sub(d.failed), tried: all(false).saturating_sub(d.tried) };
    if let Some((sign, _)) = main_sign(case, failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    d.windows = windows(failures.iter().copied());
    d.notes = sentences::notes(case, failures);
    if failures.iter().any(|t| t.role == Role::Neutral) {
        d.because.push("the neutral source meets the same".to_owned());
    }
    d.because.dedup();
    d.because.iter_mut().for_each(|s| *s = visible(s));
    d
}
