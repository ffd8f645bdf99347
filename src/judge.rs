//! Them or us: ranked diagnoses from a matrix of evidence.
//!
//! The same words mean different things from different providers, so words are only a prior: what
//! decides is the pattern over source x address x stage x time, and where the pattern is too thin
//! the answer is `undecided`, with what would settle it. The hypotheses are tried in the order of
//! what is cheapest to be wrong about; each sees only what those before it left unexplained.
//!
//! Pure: no clock, no network; the same evidence, in whatever order it was read, gives the same
//! bytes. What that means for more sessions than are kept one by one, [`Evidence`] says.

mod auth;
mod case;
mod columns;
mod dns;
mod evidence;
mod fold;
mod healthy;
mod lean;
mod matrix;
mod names;
mod ours;
mod pairs;
mod pattern;
mod rate;
mod repeats;
mod rows;
mod sentences;
mod sequence;
mod silence;
pub mod statistics;
mod time;
mod trial;
mod undecided;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use evidence::{Evidence, ReadError};

use case::{Case, Ground};
use names::Addr;
use trial::Trial;

use crate::catalog::Catalog;
use crate::record::{Diagnosis, DiagnosisKind};

/// One row of the table of hypotheses: from what is left unexplained to what it names.
type Step = fn(&Case<'_>, &[&Trial], &SoFar) -> Found;

/// The table, in order.
const TABLE: [Step; 21] = [
    ours::local_config,
    dns::local_dns,
    dns::bad_target,
    dns::receiver_dns_fault,
    ours::egress_blocked,
    ours::interception,
    ours::egress_mismatch,
    pairs::tls_fault,
    pairs::recipient,
    pairs::envelope_domain,
    pairs::content_policy,
    time::greylisting,
    auth::auth_or_fcrdns,
    rate::rate_limited,
    columns::ipv6_only,
    rows::sender_ip_block,
    rows::sender_pool_block,
    undecided::everything_fails,
    columns::receiver_partial_outage,
    time::receiver_intermittent,
    undecided::rest,
];

/// Ranked diagnoses of everything the evidence is about; never empty.
///
/// Each domain is judged apart; where there are several, the first sentence of a diagnosis names
/// its domain.
#[must_use]
pub fn judge(evidence: &Evidence, catalog: &Catalog) -> Vec<Diagnosis> {
    let (ground, targets) = Ground::new(evidence);
    let several = targets.len() > 1;
    let mut found = Vec::new();
    let mut healthy = Vec::new();
    for (domain, trials) in targets {
        let (case, trials) = Case::new(&ground, catalog, domain, trials);
        let mut diagnoses = diagnose(&case, trials, &mut healthy);
        if several {
            for first in diagnoses.iter_mut().filter_map(|d| d.because.first_mut()) {
                *first = format!("{}: {first}", sentences::visible(case.title()));
            }
        }
        found.append(&mut diagnoses);
    }
    let mut found = merged(found);
    found.extend(healthy::healthy(&healthy));
    found.sort_by(rank);
    let run = evidence.run();
    for (d, rank) in found.iter_mut().zip(1..) {
        d.rank = rank;
        run.clone_into(&mut d.run);
    }
    found
}

/// Goes through the table once; a domain with nothing wrong goes to `healthy`.
fn diagnose(case: &Case<'_>, trials: Vec<Trial>, healthy: &mut Vec<healthy::Clean>) -> Vec<Diagnosis> {
    let clean = healthy::Clean::new(case, &trials);
    let mut left = trials;
    let mut so_far = SoFar::default();
    for step in TABLE {
        let found = step(case, &left.iter().collect::<Vec<_>>(), &so_far);
        for &i in &found.excused {
            if let Some(t) = left.get_mut(i) {
                *t = t.excused();
            }
        }
        let mut explained = found.explained.iter().copied().peekable();
        let mut index = 0..;
        left.retain(|_| explained.next_if_eq(&index.next().unwrap_or(usize::MAX)).is_none());
        so_far.diagnoses.extend(found.diagnoses);
        so_far.suspects.extend(found.suspects);
        for (source, seen) in found.seen_as {
            so_far.seen_as.entry(source).or_default().insert(seen);
        }
    }
    if so_far.diagnoses.is_empty() {
        match clean {
            Ok(clean) => healthy.push(clean),
            Err(nothing) => so_far.diagnoses.push(*nothing),
        }
    } else {
        healthy::beside(case, &mut so_far.diagnoses);
    }
    so_far.diagnoses
}

/// What the steps so far have come to.
#[derive(Debug, Default)]
struct SoFar {
    diagnoses: Vec<Diagnosis>,
    suspects: Vec<Suspect>,
    /// The addresses that the other side says it sees, by source.
    seen_as: BTreeMap<Addr, BTreeSet<IpAddr>>,
}

/// What one step has come to.
#[derive(Debug, Default)]
struct Found {
    diagnoses: Vec<Diagnosis>,
    suspects: Vec<Suspect>,
    /// Which of the trials it was given are thereby explained, in order: they say no more.
    explained: Vec<usize>,
    /// Failures that are explained from the stage they ended at: up to there they passed.
    excused: Vec<usize>,
    seen_as: Vec<(Addr, IpAddr)>,
}

impl Found {
    fn explain(&mut self, left: &[&Trial], explains: impl Fn(&Trial) -> bool) {
        let more = left.iter().enumerate().filter(|(_, t)| explains(t)).map(|(i, _)| i);
        self.explained.extend(more);
        self.explained.sort_unstable();
        self.explained.dedup();
    }

    fn excuse(&mut self, left: &[&Trial], excuses: impl Fn(&Trial) -> bool) {
        self.excused.extend(left.iter().enumerate().filter(|(_, t)| t.failed() && excuses(t)).map(|(i, _)| i));
    }
}

/// A kind that the evidence suggests and is too thin to name.
#[derive(Clone, Debug)]
struct Suspect {
    kinds: Vec<DiagnosisKind>,
    because: String,
    would_raise: Vec<String>,
    /// Whether there is a pattern, which is more than words, and how likely it is by chance.
    pattern: Option<f64>,
    /// Whether it speaks against calling the failures random.
    bars_intermittent: bool,
}

/// Decided before undecided before healthy, surer before less sure, then in table order.
fn rank(a: &Diagnosis, b: &Diagnosis) -> std::cmp::Ordering {
    let open = |d: &Diagnosis| d.kind == DiagnosisKind::Undecided;
    let key = |d: &Diagnosis| (d.kind == DiagnosisKind::Healthy, open(d), std::cmp::Reverse(d.confidence), d.kind);
    key(a)
        .cmp(&key(b))
        .then(b.failed.cmp(&a.failed))
        .then_with(|| (&a.sources, &a.addresses, &a.backends).cmp(&(&b.sources, &b.addresses, &b.backends)))
        .then_with(|| (&a.stage, &a.code, &a.because).cmp(&(&b.stage, &b.code, &b.because)))
}

/// What is wrong with us is wrong for every target: told once.
fn merged(found: Vec<Diagnosis>) -> Vec<Diagnosis> {
    use DiagnosisKind::{EgressBlocked, EgressMismatch, LocalConfig, LocalDns, Port25Interception};
    let ours = [LocalConfig, LocalDns, EgressBlocked, Port25Interception, EgressMismatch];
    let mut merged: Vec<Diagnosis> = Vec::new();
    for d in found {
        let same = |m: &&mut Diagnosis| {
            ours.contains(&d.kind) && m.kind == d.kind && m.sources == d.sources && m.stage == d.stage
        };
        if let Some(m) = merged.iter_mut().find(same) {
            m.confidence = m.confidence.max(d.confidence);
            // What fails to leave for one target was counted as elsewhere for the other.
            let sum = |a: u64, b: u64| if d.kind == EgressBlocked { a.max(b) } else { a + b };
            (m.failed, m.tried) = (sum(m.failed, d.failed), sum(m.tried, d.tried));
            m.elsewhere.failed += d.elsewhere.failed;
            m.elsewhere.tried += d.elsewhere.tried;
            m.windows = m.windows.max(d.windows);
            m.because.extend(d.because);
            m.notes.extend(d.notes);
            m.notes.sort_unstable();
            m.notes.dedup();
        } else {
            merged.push(d);
        }
    }
    merged
}
