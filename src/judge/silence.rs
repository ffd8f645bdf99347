//! A resolver that answered for a while, and then nothing any more: ours, theirs, or not to be told.
//!
//! Apart from `dns` because it is the only reading of the lookups that goes by their order.

use std::collections::BTreeSet;

use super::case::host;
use super::dns::{MEND, Target, answers, errors};
use super::sentences::{diagnosis, list, plural};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Lookup, LookupError};
use crate::stage::Stage;

/// A silence that is our resolver's.
pub(super) fn of_ours(asked: &[Lookup], target: &Target<'_>) -> Option<Diagnosis> {
    // Reverse names may be this host's own to answer, and so no sign of life.
    let names = Silence::after_answers(&asked.iter().filter(|l| forward(l)).collect::<Vec<_>>());
    let all = Silence::after_answers(&asked.iter().collect::<Vec<_>>());
    let fell = names.filter(|fell| fell.has_others(target)).or(all.filter(|fell| fell.is_ours(target)))?;
    Some(fell_silent(&fell, target))
}

/// The questions at the end of a run to which nobody had an answer any more.
struct Silence<'a> {
    unanswered: Vec<&'a Lookup>,
}

impl<'a> Silence<'a> {
    /// From the first question on that nobody answered, where no answer came to any put later.
    fn after_answers(asked: &[&'a Lookup]) -> Option<Self> {
        let last = asked.iter().copied().filter(|l| is_alive(l)).map(|l| l.at).max()?;
        // Of two servers the one that answers makes up for the other. A server that will not tell
        // one type of a name whose other it tells is none that fell silent.
        let answered = || asked.iter().copied().filter(|l| answers(l));
        let names: BTreeSet<&str> = answered().map(|l| &*l.name).collect();
        let types: BTreeSet<(&str, &str)> = answered().map(|l| (&*l.name, &*l.rtype)).collect();
        let made_up = |l: &Lookup| match l.error {
            Some(LookupError::Timeout | LookupError::Unreachable) => types.contains(&(&*l.name, &*l.rtype)),
            _ => names.contains(&*l.name),
        };
        let unanswered: Vec<&Lookup> =
            asked.iter().copied().filter(|l| l.at >= last && !is_alive(l) && !made_up(l)).collect();
        (!unanswered.is_empty()).then_some(Self { unanswered })
    }

    /// Whether names that are not the target's met with it too. One name alone has a zone of its own
    /// that may be out of order, and some name is always asked for last.
    fn has_others(&self, target: &Target<'_>) -> bool {
        let names: BTreeSet<String> = self.unanswered.iter().map(|l| host(&l.name)).collect();
        names.len() > 1 && self.unanswered.iter().any(|l| !target.owns(l))
    }

    /// Whether it is our resolver that fell silent, and not the target's zone: other names met the
    /// same, or no server could be reached at all. The reverse names of our own sources alone say
    /// nothing: their zones are often out of order, and nothing depends on them.
    fn is_ours(&self, target: &Target<'_>) -> bool {
        let unreachable = |l: &&&Lookup| l.error == Some(LookupError::Unreachable);
        let ours = self.unanswered.iter().all(|l| unreachable(&l)) || self.has_others(target);
        ours && self.unanswered.iter().any(|l| forward(l))
    }
}

/// The resolver that answered for a while, and then for no name.
fn fell_silent(silence: &Silence<'_>, target: &Target<'_>) -> Diagnosis {
    let unanswered = &silence.unanswered;
    let others = unanswered.iter().filter(|l| !target.owns(l)).count();
    let others_too = unanswered.iter().any(|l| !target.owns(l) && forward(l));
    let confidence = if others_too { Confidence::High } else { Confidence::Medium };
    let mut d = diagnosis(DiagnosisKind::LocalDns, confidence);
    d.stage = Some(Stage::Resolve);
    d.failed = unanswered.len() as u64;
    d.tried = d.failed;
    d.windows = 1;
    d.because.push(format!(
        "{} answered at first, and then none of {} for {}: {}",
        list(unanswered.iter().map(|l| &l.resolver).collect::<BTreeSet<_>>()),
        plural(d.failed, "question"),
        list(unanswered.iter().map(|l| shown(l)).collect::<BTreeSet<_>>()),
        errors(unanswered.iter().copied()),
    ));
    if others > 0 {
        d.because.push(format!("{others} of them for names that are not the target's"));
    }
    if !others_too {
        d.would_raise.push("a lookup of another name, or a control (--control)".to_owned());
        d.would_raise.push("another resolver (--dns)".to_owned());
    }
    d.advice = MEND.into();
    d
}

/// Whether somebody was there: who will not tell of the root still says so.
fn is_alive(l: &Lookup) -> bool {
    answers(l) || host(&l.name).is_empty() && l.error == Some(LookupError::Refused)
}

/// The name asked for, to be read.
fn shown(l: &Lookup) -> String {
    Some(host(&l.name)).filter(|name| !name.is_empty()).unwrap_or_else(|| ".".to_owned())
}

/// Whether a name was asked for, and not what an address is called.
pub(super) fn forward(l: &Lookup) -> bool {
    !l.rtype.eq_ignore_ascii_case("PTR")
}
