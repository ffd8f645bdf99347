//! Row 12 of the table: the first few pass, then nothing does until a pause.
//!
//! Apart because it is the one hypothesis about how fast we are; it is read off what happened, and
//! never provoked.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Sign};
use super::names::Addr;
use super::sentences::{self, diagnosis, main_sign};
use super::time::{by_words, windows};
use super::trial::Trial;
use super::{Found, SoFar};
use crate::catalog::Scope;
use crate::record::{Confidence, DiagnosisKind, Elsewhere, Kind};
use crate::smtp::reply::Class;

/// A pause is at least this long, in milliseconds, and several times the usual distance.
const PAUSE: i64 = 10 * 60 * 1000;

/// Row 12.
pub(super) fn rate_limited(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let mut of_source: BTreeMap<Addr, Vec<&Trial>> = BTreeMap::new();
    for t in left {
        if let Some(source) = t.source.filter(|_| !t.counted()) {
            of_source.entry(source).or_default().push(t);
        }
    }
    for trials in of_source.values_mut() {
        trials.sort_by_key(|t| t.first());
    }
    // An address or a backend that lets nobody through is a matter of its own.
    let place = |t: &Trial| (t.address, t.backend);
    let open: BTreeSet<_> = left.iter().filter(|t| !t.failed()).map(|t| place(t)).collect();
    let mut limited: BTreeMap<DiagnosisKind, (BTreeSet<Addr>, Vec<&Trial>)> = BTreeMap::new();
    // Of many sources one will fail twice in a row by chance.
    let fewest = if of_source.len() == 1 { 2 } else { 3 };
    for (source, trials) in &of_source {
        let Some(mut limit) = limit(case, trials, fewest) else { continue };
        if !limit.worded && limit.failures.iter().any(|t| t.backend.is_some() && !open.contains(&place(t))) {
            continue;
        }
        // Where nobody gets through meanwhile, it is not this source's pace.
        limit.mended &= limit.worded || limit.bursts > 1 || of_source.len() == 1 || others_pass(left, *source, &limit);
        if limit.mended {
            let entry = limited.entry(limit.kind).or_default();
            entry.0.insert(*source);
            entry.1.extend(limit.failures);
        } else {
            let said = sentences::words(case, &limit.failures).join("; ");
            let because = if limit.worded {
                format!("{}: the words speak of a limit: {said}", case.ip(*source))
            } else {
                format!("{}: the first {} passed, then none did: {said}", case.ip(*source), limit.first)
            };
            let raise = "whether it passes again after a pause, at a slower pace";
            found.suspects.push(by_words(limit.kind, because, raise, true));
        }
    }
    for (kind, (sources, failures)) in limited {
        let here = |t: &&Trial| t.source.is_some_and(|s| sources.contains(&s));
        let mut d = diagnosis(kind, Confidence::High);
        d.sources = case.ips(sources.iter().copied());
        d.failed = failures.iter().map(|t| t.weight).sum();
        d.tried = left.iter().copied().filter(here).map(|t| t.weight).sum();
        let rest =
            |bad: bool| left.iter().copied().filter(|t| !here(t) && (t.failed() || !bad)).map(|t| t.weight).sum();
        d.elsewhere = Elsewhere { failed: rest(true), tried: rest(false) };
        if let Some((sign, _)) = main_sign(case, &failures) {
            (d.stage, d.code) = (sign.stage, sign.code);
        }
        d.windows = windows(left.iter().copied().filter(here));
        d.because.push(format!(
            "from {} the first sessions pass, then {} are put off or closed, and after a pause the next pass again",
            sentences::ips(&d.sources),
            d.failed
        ));
        d.because.extend(sentences::words(case, &failures));
        d.notes = sentences::notes(case, &failures);
        d.advice = if kind == DiagnosisKind::PerConnectionCap {
            "send fewer messages per connection".to_owned()
        } else {
            "send more slowly and over fewer connections; it passes again after a pause".to_owned()
        };
        found.diagnoses.push(d);
        let explained: BTreeSet<_> = failures.iter().map(|t| std::ptr::from_ref::<Trial>(t)).collect();
        found.excuse(left, |t| explained.contains(&std::ptr::from_ref(t)));
    }
    found
}

/// What speaks for a limit on one source.
struct Limit<'t> {
    kind: DiagnosisKind,
    failures: Vec<&'t Trial>,
    /// How many passed before the first failure.
    first: u64,
    mended: bool,
    worded: bool,
    /// In how many bursts it showed.
    bursts: usize,
}

fn others_pass(left: &[&Trial], source: Addr, limit: &Limit<'_>) -> bool {
    let others = |t: &&&Trial| t.source != Some(source) && !t.failed();
    let Some((from, to)) = sentences::span(limit.failures.iter().copied()) else { return false };
    let meanwhile = |t: &Trial| if t.counted() { (from..=to).contains(&t.at) } else { t.is_between(from, to) };
    left.iter().filter(others).any(|t| meanwhile(t))
}

/// `fewest` failures in a row are needed where no words speak of a limit.
///
/// Where sessions that passed and sessions that failed lie in each other's time, it is not on record
/// whether first some passed and then none did: nothing speaks for a limit then.
fn limit<'t>(case: &Case<'_>, trials: &[&'t Trial], fewest: u64) -> Option<Limit<'t>> {
    let worded: Vec<&Trial> = trials.iter().copied().filter(|t| t.failed() && words(case, t).is_some()).collect();
    if !worded.is_empty() {
        let kind = worded.iter().filter_map(|t| words(case, t)).min()?;
        let last = worded.iter().max_by_key(|t| t.last())?;
        let (last, stage) = (last.last(), last.stage);
        // Who did not come that far again was not told.
        let again = trials.iter().filter(|t| t.failed_at(stage).is_some());
        let again = again.filter_map(|t| Some((t.first_since(last.checked_add(1)?)?, t)));
        let next = again.min_by_key(|(at, _)| *at);
        // A session needs no pause to be told that its connection has had enough.
        let pause = if kind == DiagnosisKind::PerConnectionCap { 0 } else { PAUSE };
        let mended = next.is_some_and(|(at, t)| !t.failed() && at - last >= pause);
        let first = passed_first(trials).0;
        return Some(Limit { kind, failures: worded, first, mended, worded: true, bursts: 1 });
    }
    let pause = usual_distance(trials).saturating_mul(3).max(PAUSE);
    let mut bursts: Vec<Vec<&Trial>> = Vec::new();
    let mut ended = i64::MIN;
    for &t in trials {
        // A pause that lies within is not to be seen.
        if t.extent >= pause {
            return None;
        }
        match bursts.last_mut() {
            Some(burst) if t.first().saturating_sub(ended) < pause => burst.push(t),
            _ => bursts.push(vec![t]),
        }
        ended = ended.max(t.last());
    }
    let mut signs: BTreeSet<Sign> = BTreeSet::new();
    let mut failures = Vec::new();
    for burst in &bursts {
        let (passed, after) = passed_first(burst);
        let passed_last = burst.iter().filter(|t| !t.failed()).map(|t| t.last()).max();
        // First passes, then none: anything else is another matter.
        let else_what = |t: &&Trial| !t.failed() || !is_putting_off(t) || passed_last > Some(t.first());
        if passed == 0 || after.iter().any(else_what) {
            return None;
        }
        signs.extend(after.iter().map(|t| case.sign(t)));
        failures.extend(after);
    }
    let first = passed_first(bursts.first()?).0;
    let fails = |burst: &Vec<&Trial>| sentences::sessions(burst.iter().copied().filter(|t| t.failed())) >= fewest;
    let failing = bursts.iter().position(fails)?;
    if first < 2 || signs.len() != 1 {
        return None;
    }
    let mended = failing + 1 < bursts.len();
    Some(Limit {
        kind: DiagnosisKind::RateLimited,
        failures,
        first,
        mended,
        worded: false,
        bursts: bursts.iter().filter(|b| fails(b)).count(),
    })
}

/// Whether these may have passed at first, been put off, and passed again after a pause, for all that
/// is on record of their order.
pub(super) fn may_hide(trials: &[&Trial], here: impl Fn(&Trial) -> bool) -> bool {
    let mut here = trials.iter().filter(|t| here(t) && !t.counted());
    here.clone().any(|t| t.extent >= PAUSE)
        && here.clone().any(|t| !t.failed())
        && here.all(|t| !t.failed() || is_putting_off(t))
}

/// A 4xx reply, or a close without one.
fn is_putting_off(t: &Trial) -> bool {
    t.kind == Kind::Dropped || t.kind == Kind::Rejected && t.code.is_some_and(|c| c.class() == Class::Transient)
}

/// How many passed before the first failure, and what comes from there on.
fn passed_first<'s, 't>(trials: &'s [&'t Trial]) -> (u64, &'s [&'t Trial]) {
    let (passed, after) = trials.split_at(trials.iter().take_while(|t| !t.failed()).count());
    (sentences::sessions(passed.iter().copied()), after)
}

/// The median distance from one session to the next; many in one count as evenly spread.
fn usual_distance(trials: &[&Trial]) -> i64 {
    let between = trials.windows(2).map(|pair| (pair[1].first().saturating_sub(pair[0].last()).max(0), 1));
    let within = trials.iter().filter(|t| t.weight > 1).map(|t| {
        let gaps = t.weight - 1;
        (i64::try_from(gaps).map_or(0, |gaps| t.extent / gaps), gaps)
    });
    let mut gaps: Vec<(i64, u64)> = between.chain(within).collect();
    gaps.sort_unstable();
    let mut left = gaps.iter().map(|(_, n)| n).sum::<u64>() / 2;
    let median = gaps.iter().find(|(_, n)| {
        let within = left < *n;
        left = left.saturating_sub(*n);
        within
    });
    median.map_or(0, |(gap, _)| *gap)
}

/// What the words of a refusal say about a limit, if they do.
fn words(case: &Case<'_>, t: &Trial) -> Option<DiagnosisKind> {
    let text = case.names().words(t.said?)?.text.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|p| text.contains(p));
    if says(&["per connection", "per session", "messages in this connection", "messages in one session"]) {
        return Some(DiagnosisKind::PerConnectionCap);
    }
    let enhanced = t.enhanced.is_some_and(|e| (e.subject, e.detail) == (7, 28));
    let scope = case.rule(t).is_some_and(|rule| rule.scope == Scope::Rate);
    let rate = ["too many connections", "rate limit", "too many concurrent", "too fast", "too quickly"];
    (enhanced || scope || says(&rate)).then_some(DiagnosisKind::RateLimited)
}
