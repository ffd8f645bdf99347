//! The plan of a smoke test: the matrix up to `MAIL`, and beside it the few sessions that tell
//! content, envelope, recipient and address apart.
//!
//! Beside the matrix a source goes to one address only, not the same for all. What differs is one
//! thing at a time, so each is a further attempt at its cell and keeps its pace and its rests.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::matrix::{Errand, cell, default_sender};
use super::{Attempt, Cell, Exchanger, Plan, Route, Source, Stretch, plan};
use crate::address::Sender;
use crate::probe::{Envelope, Probe};
use crate::record::{Role, Variant};
use crate::stage::Stage;

/// So many pairs of a kind make it high (see the judge's pairs).
const PAIRS: usize = 3;

/// Expands a probe for a smoke test, without I/O; otherwise as [`plan`].
#[must_use]
pub fn smoke(probe: &Arc<Probe>, routes: &[Route], sources: &[Source], seed: u64, first: u64) -> Plan {
    let matrix = Arc::new(Probe {
        until: probe.until.min(Stage::Mail),
        envelope: Envelope { to: Vec::new(), ..probe.envelope.clone() },
        ..(**probe).clone()
    });
    let mut plan = plan(&matrix, routes, sources, seed, first);
    let own: Vec<&Source> = sources.iter().filter(|source| !source.neutral).collect();
    let mut beside = Vec::new();
    for route in routes.iter().filter(|route| route.role == Role::Target) {
        for (at, &source) in own.iter().enumerate() {
            let ends = ends(&matrix, route, source, at);
            if ends.is_empty() {
                continue;
            }
            let pairs = PAIRS.div_ceil(own.len()).min(ends.len());
            beside.extend((0..pairs).filter_map(|turn| neutral_from(&matrix, route, source, &turned(&ends, turn))));
            for to in &probe.envelope.to {
                let to = Errand { role: Role::Target, to: Some(to.clone()), until: probe.until };
                beside.extend(messages(probe, route, source, &ends, &to));
            }
        }
    }
    let seq = first + plan.len();
    let numbered = beside.into_iter().zip(seq..).map(|(attempt, seq)| Arc::new(Attempt { seq, ..attempt }));
    plan.stretches.push(Stretch::Listed(numbered.collect()));
    plan
}

/// Where a source goes beside the matrix: the addresses of the most preferred exchangers, each
/// source beginning with another one.
fn ends<'a>(probe: &Probe, route: &'a Route, source: &Source, turn: usize) -> Vec<(&'a Exchanger, IpAddr)> {
    let fits = |a: &IpAddr| probe.target.family.allows(*a) && a.is_ipv4() == source.address.is_ipv4();
    let best = route.exchangers.iter().filter(|e| e.addresses.iter().any(fits)).map(|e| e.preference).min();
    let mut seen = BTreeSet::new();
    let ends: Vec<_> = route
        .exchangers
        .iter()
        .filter(|exchanger| Some(exchanger.preference) == best)
        .flat_map(|exchanger| exchanger.addresses.iter().filter(|a| fits(a)).map(move |a| (exchanger, *a)))
        .filter(|(_, address)| seen.insert(*address))
        .collect();
    turned(&ends, turn)
}

fn turned<T: Clone>(list: &[T], turn: usize) -> Vec<T> {
    let at = turn % list.len().max(1);
    [&list[at..], &list[..at]].concat()
}

/// A session to the first of these addresses that can be reached.
fn one(probe: &Arc<Probe>, route: &Route, source: &Source, ends: &[(&Exchanger, IpAddr)], of: &Errand) -> Option<Cell> {
    let to = |&(exchanger, address): &(&Exchanger, IpAddr)| {
        let Errand { role, ref to, until } = *of;
        cell(probe, route, exchanger, address, source, Errand { role, to: to.clone(), until })
    };
    let mut all = ends.iter().take(4).map(to);
    let mut first = all.next()?;
    first.alternatives = all.map(Arc::new).collect();
    Some(first)
}

/// The same as the matrix's session there, but for the envelope sender.
fn neutral_from(probe: &Arc<Probe>, route: &Route, source: &Source, ends: &[(&Exchanger, IpAddr)]) -> Option<Attempt> {
    // The null sender is for those who ask for it.
    let default = || Some(default_sender(&source.ehlo)).filter(|from| *from != Sender::Null);
    let from = probe.envelope.neutral.clone().or_else(default)?;
    let of = Errand { role: Role::Target, to: None, until: probe.until };
    // Without alternatives: it is the pair of the session at this very address.
    let cell = one(probe, route, source, ends.get(..1)?, &of)?;
    let differs = probe.until == Stage::Mail && from != cell.from;
    differs.then(|| Attempt {
        number: probe.limits.attempts.max(1) + 1,
        ..Attempt::first(Arc::new(Cell { from, variant: Variant::NeutralFrom, ..cell }))
    })
}

/// What is said to one owned mailbox: the recipient alone, or a pair of messages.
fn messages(
    probe: &Arc<Probe>,
    route: &Route,
    source: &Source,
    ends: &[(&Exchanger, IpAddr)],
    of: &Errand,
) -> Vec<Attempt> {
    let Some(plain) = one(probe, route, source, ends, of) else { return Vec::new() };
    if probe.until < Stage::EndOfData {
        return vec![Attempt::first(Arc::new(plain))];
    }
    let with = |variant, number| Attempt { number, ..Attempt::first(plain.varied(variant)) };
    let control = with(Variant::ControlMessage, 1);
    let campaign = probe.message.body.is_some().then(|| with(Variant::Campaign, 2));
    [Some(control), campaign].into_iter().flatten().collect()
}

impl Cell {
    /// The same session with another message.
    fn varied(&self, variant: Variant) -> Arc<Self> {
        let alternatives = self.alternatives.iter().map(|next| next.varied(variant)).collect();
        Arc::new(Self { variant, alternatives, ..self.clone() })
    }
}

impl Attempt {
    /// Whether it is one of the sessions that a run has for each cell whatever it finds.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.number == 1 && matches!(self.variant, Variant::Plain | Variant::Plaintext)
    }
}
