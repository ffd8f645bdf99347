//! The matrix: every source to every address, each cell as often as it is to be tried.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::rounds::{addresses, dealt};
use super::{Attempt, Cell, Exchanger, Plan, Rounds, Route, Source, Stretch};
use crate::address::{EhloName, Mailbox, Sender};
use crate::probe::{Envelope, Family, Probe};
use crate::record::{Role, Variant};
use crate::smtp::fault::Fault;
use crate::stage::Stage;

/// Expands a probe, without I/O. No IPv4 source is paired with an IPv6 address, or the reverse.
///
/// `first` is the number of the first session; the cells are in random order, by `seed`, though no
/// address has its second before all have had their first. Each cell's further attempts come after
/// all first ones.
#[must_use]
pub fn plan(probe: &Arc<Probe>, routes: &[Route], sources: &[Source], seed: u64, first: u64) -> Plan {
    let mut plan = Plan::default();
    let mut cells = Vec::new();
    for route in routes {
        let family = if route.role == Role::Control { Family::Both } else { probe.target.family };
        cells.extend(unresolved(probe, route));
        match route.role {
            Role::Control => cells.extend(sources.iter().filter_map(|source| control(probe, route, source))),
            Role::Target | Role::Neutral => {
                let (found, left_out) = matrix(probe, route, sources, family);
                cells.extend(found);
                plan.left_out.extend(left_out);
            }
        }
    }
    let cells: Vec<_> = cells.into_iter().map(|cell| Arc::new(Attempt::first(Arc::new(cell)))).collect();
    let (mut rng, attempts) = (ChaCha8Rng::seed_from_u64(seed), probe.limits.attempts);
    let order = dealt(&addresses(&cells), &mut rng);
    let numbered =
        order.into_iter().zip(first..).map(|(at, seq)| Arc::new(Attempt { seq, ..Attempt::clone(&cells[at]) }));
    let again = |cell: &&Arc<Attempt>| cell.fault.is_none() && cell.role != Role::Control;
    let again: Vec<_> = cells.iter().filter(again).cloned().collect();
    let behind = first + cells.len() as u64;
    plan.stretches.push(Stretch::Listed(numbered.collect()));
    if attempts > 1 && !again.is_empty() {
        plan.stretches.push(Stretch::Again(Box::new(Rounds::new(again, 2..=attempts, behind, rng))));
    }
    plan
}

/// The name under which rates and budgets are kept: the exchanger's registrable domain.
#[must_use]
pub fn provider(mx: Option<&str>, address: Option<IpAddr>) -> Arc<str> {
    let name = mx.map(str::to_ascii_lowercase);
    match (name, address) {
        (Some(name), _) => psl::domain_str(&name).unwrap_or(&name).into(),
        (None, Some(address)) => address.to_string().into(),
        (None, None) => "".into(),
    }
}

/// The target's matrix: every source to every address, once per recipient.
fn matrix(probe: &Arc<Probe>, route: &Route, sources: &[Source], family: Family) -> (Vec<Cell>, Vec<String>) {
    let (mut cells, mut left_out, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for exchanger in &route.exchangers {
        for &address in exchanger.addresses.iter().filter(|a| family.allows(**a)) {
            if !seen.insert(address) {
                continue;
            }
            let fitting = sources.iter().filter(|source| source.address.is_ipv4() == address.is_ipv4());
            let before = cells.len();
            for source in fitting {
                cells.extend(recipients(&probe.envelope).map(|to| {
                    let role = if source.neutral { Role::Neutral } else { Role::Target };
                    cell(probe, route, exchanger, address, source, Errand { role, to, until: probe.until })
                }));
            }
            if cells.len() == before {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                left_out.push(format!("{address}: there is no {family} source to probe it from"));
            }
        }
    }
    (cells, left_out)
}

/// One session per recipient; without recipients one that goes no further than `MAIL`.
fn recipients(envelope: &Envelope) -> impl Iterator<Item = Option<Mailbox>> + '_ {
    let none = envelope.to.is_empty().then_some(None);
    none.into_iter().chain(envelope.to.iter().cloned().map(Some))
}

/// One session from a source to a control's first reachable address, up to EHLO.
fn control(probe: &Arc<Probe>, route: &Route, source: &Source) -> Option<Cell> {
    let mut reachable = route.exchangers.iter().flat_map(|exchanger| {
        let fitting = exchanger.addresses.iter().filter(|a| a.is_ipv4() == source.address.is_ipv4());
        fitting.map(move |&address| (exchanger, address))
    });
    let to = |(exchanger, address)| {
        let errand = Errand { role: Role::Control, to: None, until: Stage::Ehlo };
        cell(probe, route, exchanger, address, source, errand)
    };
    let mut cell = reachable.next().map(to)?;
    cell.alternatives = reachable.take(3).map(to).map(Arc::new).collect();
    Some(cell)
}

/// What tells one cell of a route from another beside source and address.
pub(super) struct Errand {
    pub(super) role: Role,
    pub(super) to: Option<Mailbox>,
    pub(super) until: Stage,
}

pub(super) fn cell(
    probe: &Arc<Probe>,
    route: &Route,
    exchanger: &Exchanger,
    address: IpAddr,
    source: &Source,
    Errand { role, to, until }: Errand,
) -> Cell {
    let notes = route.notes.iter().chain(&exchanger.notes).cloned();
    Cell {
        probe: Arc::clone(probe),
        role,
        variant: Variant::Plain,
        domain: route.domain.clone(),
        mx: exchanger.name.clone(),
        preference: exchanger.preference,
        address: Some(SocketAddr::new(address, probe.target.port)),
        provider: provider(exchanger.name.as_deref(), Some(address)),
        source: Some(source.clone()),
        from: sender(probe, source),
        to,
        until,
        tls: probe.tls,
        dane: exchanger.dane.clone(),
        fault: None,
        notes: notes.collect(),
        alternatives: Vec::new(),
    }
}

/// A record for a domain that has no mail, and for every exchanger that has no address.
fn unresolved(probe: &Arc<Probe>, route: &Route) -> Vec<Cell> {
    let cell = |name: Option<&String>, preference, fault: &Fault, notes: &[String]| Cell {
        probe: Arc::clone(probe),
        role: route.role,
        variant: Variant::Plain,
        domain: route.domain.clone(),
        mx: name.cloned(),
        preference,
        address: None,
        provider: provider(name.map(String::as_str), None),
        source: None,
        from: Sender::Null,
        to: None,
        until: probe.until,
        tls: probe.tls,
        dane: None,
        fault: Some(fault.clone()),
        notes: route.notes.iter().chain(notes).cloned().collect(),
        alternatives: Vec::new(),
    };
    let domain = route.fault.iter().map(|fault| cell(None, None, fault, &[]));
    let exchangers = route.exchangers.iter().filter_map(|exchanger| {
        let Exchanger { name, preference, fault, notes, .. } = exchanger;
        fault.as_ref().map(|fault| cell(name.as_ref(), *preference, fault, notes))
    });
    domain.chain(exchangers).collect()
}

/// Who writes from this source.
#[must_use]
pub fn sender(probe: &Probe, source: &Source) -> Sender {
    probe.envelope.from.clone().unwrap_or_else(|| default_sender(&source.ehlo))
}

/// `mxprobe@` and the EHLO name; the null sender where that is an address.
pub(super) fn default_sender(ehlo: &EhloName) -> Sender {
    match ehlo {
        EhloName::Name(host) => format!("mxprobe@{host}").parse().unwrap_or(Sender::Null),
        EhloName::Literal(_) => Sender::Null,
    }
}
