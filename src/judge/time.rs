//! What order in time says: a first try that is put off, failures that come and go. Rows 10 and 19
//! of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::matrix::{self, Count};
use super::names::{Addr, Name};
use super::sentences::{self, SECOND_WINDOW, connections, diagnosis, main_sign, percent, undecided};
use super::sequence::Sequence;
use super::statistics::{float, wilson};
use super::trial::Trial;
use super::{Found, SoFar, Suspect};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Kind, Role, Variant};
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// Trials of the same cell this far apart are two windows, in milliseconds.
pub(super) const WINDOW: i64 = 15 * 60 * 1000;

/// In how many windows at least half of the cells of these trials were tried, as far as it is on
/// record when each was.
pub(super) fn windows<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> u32 {
    let mut cells: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for t in trials {
        cells.entry((t.source, t.address, t.backend)).or_default().extend([t.first(), t.last()]);
    }
    let mut windows: Vec<u32> = cells
        .into_values()
        .map(|mut times| {
            times.sort_unstable();
            let mut last = None;
            let starts = times.into_iter().filter(|&at| {
                let starts = last.is_none_or(|last| at - last >= WINDOW);
                if starts {
                    last = Some(at);
                }
                starts
            });
            u32::try_from(starts.count()).unwrap_or(u32::MAX)
        })
        .collect();
    windows.sort_unstable();
    windows.get(windows.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// Who writes to whom from where: what a greylist remembers.
type Triplet = (Option<Addr>, Option<Name>, Option<Name>);

/// How a triplet fared, as far as a greylist is concerned.
#[derive(Default)]
struct Fared<'t> {
    first: Option<&'t Trial>,
    put_off: Vec<&'t Trial>,
    passed: Option<i64>,
    again: bool,
}

/// Row 10: the first try of everybody is put off, a later one passes.
pub(super) fn greylisting(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let put_off = |t: &Trial| {
        t.kind == Kind::Rejected
            && matches!(t.stage, Some(Stage::Mail | Stage::Rcpt | Stage::Data))
            && t.code.is_some_and(|c| c.class() == Class::Transient)
    };
    let mut triplets: BTreeMap<Triplet, Fared<'_>> = BTreeMap::new();
    // Who never came to name a sender was no try for the greylist.
    let came_to_mail = |t: &&&Trial| t.failed_at(Some(Stage::Mail)).is_some() && !t.counted();
    let mut tried: Vec<&Trial> = left.iter().filter(came_to_mail).copied().collect();
    tried.sort_by_key(|t| t.first());
    // Without the names nobody can tell a first try from a later one.
    if tried.iter().any(|t| t.nameless && put_off(t)) {
        return found;
    }
    for &t in tried.iter().filter(|t| !t.nameless) {
        let fared = triplets.entry((t.source, t.from, t.to)).or_default();
        fared.first.get_or_insert(t);
        if put_off(t) {
            fared.again |= fared.passed.is_some();
            fared.put_off.push(t);
        } else if !t.failed() && fared.passed.is_none() {
            fared.passed = Some(t.first());
            fared.again |= fared.put_off.iter().any(|put_off| put_off.last() > t.first());
        }
    }
    // An address that lets nobody through is that address's matter.
    let open: BTreeSet<_> = left.iter().filter(|t| !t.failed()).map(|t| t.address).collect();
    let elsewhere = |f: &Fared<'_>| f.put_off.iter().all(|t| open.contains(&t.address));
    let all_put_off =
        triplets.values().all(elsewhere) && triplets.values().all(|f| f.first.is_some_and(put_off) && !f.again);
    let passes: Vec<i64> = triplets.values().filter_map(|f| f.passed).collect();
    let Some(first_pass) = passes.iter().min().copied().filter(|_| all_put_off) else { return found };
    let failures: Vec<&Trial> = triplets.values().flat_map(|f| f.put_off.iter().copied()).collect();
    let says_so = |t: &&&Trial| {
        let text = t.said.and_then(|s| case.names().words(s)).map(|w| w.text.to_ascii_lowercase()).unwrap_or_default();
        ["greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"].iter().any(|w| text.contains(w))
    };
    let said = failures.iter().any(|t| says_so(&t));
    let late = triplets.values().filter(|f| f.first.is_some_and(|t| t.first() > first_pass)).count();
    let kind = DiagnosisKind::Greylisting;
    let mut d = if said || late > 0 {
        diagnosis(kind, Confidence::High)
    } else {
        let mut d = undecided([kind, DiagnosisKind::ReceiverIntermittent], Some(kind));
        d.would_raise
            .push("a sender and recipient that were not tried before: a greylist puts them off too".to_owned());
        d
    };
    d.because.push(format!(
        "the first try of each of {} was put off with a 4xx reply, {} passed later, and none was put off after that",
        sentences::plural(triplets.len() as u64, "source, sender and recipient"),
        passes.len(),
    ));
    if late > 0 {
        d.because.push(format!("{late} of them were first tried after another's pass, and were put off all the same"));
    }
    if said {
        d.because.push("the reply itself speaks of greylisting".to_owned());
    }
    d.because.extend(sentences::words(case, &failures));
    d.failed = failures.iter().map(|t| t.weight).sum();
    d.tried = tried.iter().map(|t| t.weight).sum();
    if let Some((sign, _)) = main_sign(case, &failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    d.windows = windows(left.iter().copied());
    d.notes = sentences::notes(case, &failures);
    if d.kind == kind {
        d.advice = "nothing to mend: let the queue retry from the same address; do not retry faster".into();
    }
    found.diagnoses.push(d);
    found.excuse(left, put_off);
    found
}

/// Row 19: some of the same cells fail and pass.
pub(super) fn receiver_intermittent(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let own: Vec<&Trial> = left.iter().copied().filter(|t| t.role != Role::Neutral).collect();
    let cells = matrix::cells(&own, false);
    let counts: Vec<_> = cells.iter().map(|c| (c, c.count(None))).collect();
    let mixed = counts.iter().filter(|(_, c)| 0 < c.failed && c.failed < c.tried).count();
    let sequence = Sequence::new(own.iter().copied());
    let stretch = sequence.one_stretch() && sequence.failed >= 3;
    if mixed == 0 || stretch || sequence.p() < 0.01 || so_far.suspects.iter().any(|s| s.bars_intermittent) {
        return found;
    }
    // A cell that never passed, at odds too small for chance at the rate of the others.
    let all = Count { failed: sequence.failed, tried: sequence.failed + sequence.passed };
    let stubborn = |c: Count| {
        let others = Count { failed: all.failed - c.failed, tried: all.tried - c.tried };
        let by_chance = sentences::rate(others).powf(float(c.tried)) * float(cells.len() as u64);
        c.failed == c.tried && by_chance < 0.01
    };
    let never: BTreeSet<(Addr, Addr)> =
        counts.iter().filter(|(_, c)| stubborn(*c)).map(|(c, _)| (c.source, c.address)).collect();
    let is_never = |t: &Trial| t.source.zip(t.address).is_some_and(|cell| never.contains(&cell));
    let failures: Vec<&Trial> = own.iter().copied().filter(|t| t.failed() && !is_never(t)).collect();
    let rate = own.iter().filter(|t| !is_never(t)).fold(Count::default(), |mut count, t| {
        count.add(Count { failed: if t.failed() { t.weight } else { 0 }, tried: t.weight });
        count
    });
    let spread = windows(own.iter().copied());
    // Failures without a pass between them may be the beginning of something else, and so may those
    // that lie in an order which nobody knows.
    let sure = mixed >= 2 && spread >= 2 && !sequence.one_stretch() && !sequence.is_blurred();
    let confidence = if sure { Confidence::High } else { Confidence::Medium };
    let mut d = intermittent(case, confidence, rate, &failures);
    d.windows = spread;
    d.because.insert(1, format!("{mixed} of {} both failed and passed", sentences::plural(cells.len() as u64, "cell")));
    d.because.extend(sequence.said());
    if mixed < 2 {
        d.would_raise.push("more attempts in more cells".to_owned());
    }
    if spread < 2 {
        d.would_raise.push(SECOND_WINDOW.to_owned());
    }
    if sequence.is_blurred() {
        d.would_raise.push("a shorter time, of which every session is on record by itself".to_owned());
    }
    if sequence.one_stretch() {
        d.would_raise.push("a failure after the passes that followed these".to_owned());
    }
    found.diagnoses.push(d);
    if !never.is_empty() {
        let failures: Vec<&Trial> = own.iter().copied().filter(|t| is_never(t)).collect();
        found.diagnoses.push(never_passed(case, &never, &failures, rate));
    }
    found.explain(left, |_| true);
    found
}

fn intermittent(case: &Case<'_>, confidence: Confidence, rate: Count, failures: &[&Trial]) -> Diagnosis {
    let mut d = diagnosis(DiagnosisKind::ReceiverIntermittent, confidence);
    (d.failed, d.tried) = (rate.failed, rate.tried);
    let (low, high) = wilson(rate.failed, rate.tried);
    d.because.push(format!(
        "{} of {} failed: a rate of {} %, 95 % interval {}-{} %",
        rate.failed,
        connections(rate.tried),
        percent(sentences::rate(rate)),
        percent(low),
        percent(high),
    ));
    d.because.extend(sentences::words(case, failures));
    if let Some((sign, _)) = main_sign(case, failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    d.notes = sentences::notes(case, failures);
    d.advice = "retries get through: keep the queue's retry interval, lower the number of connections, and look \
                again when the rate matters"
        .into();
    d
}

fn never_passed(case: &Case<'_>, cells: &BTreeSet<(Addr, Addr)>, failures: &[&Trial], rate: Count) -> Diagnosis {
    let kinds =
        [DiagnosisKind::SenderIpBlock, DiagnosisKind::ReceiverPartialOutage, DiagnosisKind::ReceiverIntermittent];
    let mut d = undecided(kinds, None);
    d.sources = case.ips(cells.iter().map(|c| c.0));
    d.addresses = case.ips(cells.iter().map(|c| c.1));
    d.failed = failures.iter().map(|t| t.weight).sum();
    d.tried = d.failed;
    if let Some((sign, _)) = main_sign(case, failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    d.windows = windows(failures.iter().copied());
    d.because.push(format!(
        "{} never passed in {}, which a rate of {} % does not explain",
        sentences::plural(cells.len() as u64, "cell"),
        connections(d.tried),
        percent(sentences::rate(rate)),
    ));
    d.because.extend(sentences::words(case, failures));
    d.would_raise.push("more sources at these addresses, and these sources at more addresses".to_owned());
    d.notes = sentences::notes(case, failures);
    d
}

/// Whether two trials are of one time, for pairs: each session of the one with each of the other.
pub(super) fn same_time(a: &Trial, b: &Trial) -> bool {
    a.last() - b.first() < WINDOW && b.last() - a.first() < WINDOW
}

/// A suspicion that rests on words alone.
pub(super) fn by_words(kind: DiagnosisKind, because: String, would_raise: &str, bars_intermittent: bool) -> Suspect {
    Suspect { kinds: vec![kind], because, would_raise: vec![would_raise.to_owned()], pattern: None, bars_intermittent }
}

/// Sessions of the ordinary kind, which are not halves of a pair.
pub(super) fn is_plain(t: &Trial) -> bool {
    matches!(t.variant, Variant::Plain | Variant::Campaign)
}
