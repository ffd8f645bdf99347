//! A group that stands out of the matrix, and what there is to say about it: the same for rows and
//! columns.
//!
//! Apart from both because where the failures lie decides whose they are, and nothing else does.

use super::case::Case;
use super::matrix::{Count, Group};
use super::sentences::{self, CONTROL, NEUTRAL, SECOND_WINDOW, diagnosis, main_sign};
use super::time::windows;
use super::trial::Trial;
use super::{SoFar, Suspect, rate};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere};
use crate::stage::Stage;

/// A group that the rule has named.
pub(super) struct Named<'a, U> {
    pub(super) confidence: Confidence,
    pub(super) group: &'a Group<U>,
    pub(super) failures: Vec<&'a Trial>,
}

impl<U> Named<'_, U> {
    /// The diagnosis with its counts, main ending, words and times.
    pub(super) fn diagnosis(
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
    pub(super) fn block(
        &self,
        case: &Case<'_>,
        so_far: &SoFar,
        trials: &[&Trial],
        here: impl Fn(&Trial) -> bool,
        rest: impl Fn(&Trial) -> bool,
    ) -> Diagnosis {
        let mut d = self.diagnosis(case, DiagnosisKind::SenderIpBlock, trials, &here, rest);
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
        if rate::may_hide(trials, &here) {
            d.confidence = d.confidence.min(Confidence::Medium);
            d.would_raise.push("fewer sessions, so that it shows whether a pause mends it".to_owned());
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

pub(super) fn suspect<U>(group: &Group<U>, kinds: &[DiagnosisKind], mut because: String, in_time: bool) -> Suspect {
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
pub(super) fn failures<'t>(
    trials: &[&'t Trial],
    question: Option<Stage>,
    here: impl Fn(&Trial) -> bool,
) -> Vec<&'t Trial> {
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
pub(super) fn passed_meanwhile(
    trials: &[&Trial],
    question: Option<Stage>,
    here: impl Fn(&Trial) -> bool,
    rest: impl Fn(&Trial) -> bool,
) -> bool {
    let failed = trials.iter().filter(|t| here(t) && t.failed_at(question) == Some(true));
    sentences::span(failed.copied()).is_some_and(|(first, last)| {
        trials.iter().any(|t| t.is_between(first, last) && rest(t) && t.failed_at(question) == Some(false))
    })
}

/// When it failed, and between which times it began and ended, where that is on record.
fn since(trials: &[&Trial], here: impl Fn(&Trial) -> bool, failures: &[&Trial]) -> Option<String> {
    let (first, last) = sentences::span(failures.iter().copied())?;
    let passed = || trials.iter().filter(|t| here(t) && !t.failed());
    // Of passes that lie on both sides nobody knows which was the nearest.
    let before = passed()
        .filter(|t| t.first() < first)
        .map(|t| if t.last() < first { (t.last(), "") } else { (t.first(), " or later") });
    let after = passed()
        .filter(|t| t.last() > last)
        .map(|t| if t.first() > last { (t.first(), "") } else { (t.last(), " or earlier") });
    let at = |what: &str, at: Option<(i64, &str)>| {
        at.map(|(at, or)| format!("; {what} was at {}{or}", sentences::time(at))).unwrap_or_default()
    };
    Some(format!(
        "failures from {} to {}{}{}",
        sentences::time(first),
        sentences::time(last),
        at("the last pass before", before.max_by_key(|(at, _)| *at)),
        at("the first pass after", after.min_by_key(|(at, _)| *at))
    ))
}

/// What tells a refused pool from an outage.
pub(super) fn settle_pool() -> Vec<String> {
    vec![NEUTRAL.to_owned(), SECOND_WINDOW.to_owned()]
}
