//! Row 21 of the table: nothing failed, and how much that says.
//!
//! Apart because it is the one diagnosis about what did not happen: it is only worth what a fault
//! would have had to be to hide.

use std::collections::BTreeSet;

use super::case::Case;
use super::dns;
use super::sentences::{connections, diagnosis, list, percent, plural, sessions, undecided, visible};
use super::statistics::{could_have_missed, sample_size};
use super::time::windows;
use super::trial::Trial;
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Kind, Role};
use crate::smtp::fault::Fault;
use crate::stage::Stage;

/// A target at which nothing of ours failed.
#[derive(Clone, Debug)]
pub(super) struct Clean {
    title: String,
    tried: u64,
    expected: u64,
    /// The last stage that some session did not go beyond.
    until: Option<Stage>,
    windows: u32,
    neutral_failed: u64,
    notes: Vec<String>,
}

impl Clean {
    /// What nothing failed in; where nothing was tried, what there is to say about that.
    pub(super) fn new(case: &Case<'_>, trials: &[Trial]) -> Result<Self, Box<Diagnosis>> {
        let own = || trials.iter().filter(|t| t.role != Role::Neutral);
        let tried = own().map(|t| t.weight).sum();
        let expected = sessions(case.aside.iter().filter(|t| t.expected));
        if tried == 0 && expected == 0 {
            return Err(Box::new(nothing_tried(case)));
        }
        Ok(Self {
            title: visible(case.title()),
            tried,
            expected,
            until: own().filter(|t| !t.counted()).map(|t| t.until).min(),
            windows: windows(own()),
            neutral_failed: trials.iter().filter(|t| t.role == Role::Neutral && t.failed()).map(|t| t.weight).sum(),
            notes: dns::exchangers_not_probed(case),
        })
    }
}

fn nothing_tried(case: &Case<'_>) -> Diagnosis {
    let mut d = undecided([DiagnosisKind::LocalConfig, DiagnosisKind::Healthy], None);
    let left_out = || case.aside.iter().filter(|t| t.kind == Kind::Skipped);
    let skipped = sessions(left_out());
    let cancelled = Fault::Cancelled.to_string();
    let stopped = skipped > 0 && left_out().all(|t| t.detail.is_some_and(|d| case.names().text(d) == cancelled));
    d.because.push(if skipped > 0 {
        format!("all {} to {} were skipped: nothing was tried", connections(skipped), visible(case.title()))
    } else {
        "there is no session in the evidence: nothing was tried".to_owned()
    });
    if stopped {
        d.would_raise.push("a run that is not stopped".to_owned());
        d.advice = "run it again".into();
    } else {
        d.would_raise.push("one session per source and address, once rest and budget allow".to_owned());
        d.advice = "run it again when the sources have rested".into();
    }
    d
}

/// What belongs beside other diagnoses: exchangers that have no address.
pub(super) fn beside(case: &Case<'_>, diagnoses: &mut [Diagnosis]) {
    if let Some(first) = diagnoses.first_mut() {
        first.notes.extend(dns::exchangers_not_probed(case));
    }
}

/// `healthy` of all these targets together, as sure as of the one that was tried least.
pub(super) fn healthy(clean: &[Clean]) -> Option<Diagnosis> {
    let least = clean.iter().map(|c| c.tried).min()?;
    let confidence = match least {
        29.. => Confidence::High,
        5.. => Confidence::Medium,
        _ => Confidence::Low,
    };
    let mut d = diagnosis(DiagnosisKind::Healthy, confidence);
    d.tried = clean.iter().map(|c| c.tried).sum();
    d.windows = clean.iter().map(|c| c.windows).min().unwrap_or(0);
    d.because.push(format!(
        "none of {} to {} failed{}",
        connections(d.tried),
        list(clean.iter().map(|c| &c.title)),
        if clean.len() > 1 { format!(", at least {least} to each") } else { String::new() }
    ));
    if least > 0 {
        d.because.push(format!(
            "a fault hitting {} % of connections or more would have shown (95 %); a rarer one could have been missed",
            percent(could_have_missed(least))
        ));
    }
    let expected: u64 = clean.iter().map(|c| c.expected).sum();
    if expected > 0 {
        d.because.push(format!("{} ended as the probe expects, and count neither way", connections(expected)));
    }
    if let Some(until) = clean.iter().filter_map(|c| c.until).min().filter(|u| *u < Stage::EndOfData) {
        d.because.push(format!("the sessions went up to {until}: what comes after it was not tested"));
    }
    let neutral: u64 = clean.iter().map(|c| c.neutral_failed).sum();
    if neutral > 0 {
        d.because.push(format!("of the neutral source, {} failed", connections(neutral)));
    }
    let sizes: BTreeSet<(u64, &str)> = [(0.1, "10"), (0.05, "5"), (0.01, "1")]
        .into_iter()
        .map(|(rate, name)| (sample_size(rate), name))
        .filter(|(n, _)| *n > least)
        .collect();
    d.would_raise.extend(sizes.into_iter().map(|(n, rate)| format!("{n} connections, to exclude a fault of {rate} %")));
    d.advice = "nothing to do".into();
    d.notes = clean.iter().flat_map(|c| c.notes.iter().cloned()).collect();
    if !d.notes.is_empty() {
        // No session could have found it, so it is no trial; but it is not as it should be either.
        let unresolved = plural(d.notes.len() as u64, "exchanger");
        d.because.push(format!(
            "beside that, {unresolved} did not resolve, which counts as failed: mail goes to the others"
        ));
        d.advice = "nothing to do on our side; the domain's owner should mend its MX records".into();
    }
    Some(d)
}
