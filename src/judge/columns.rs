//! Columns of the matrix: some of their addresses, backends or address families fail for everybody.
//! Rows 13 and 18 of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::matrix::{self, Count, Entry, best_group};
use super::names::{Addr, Name};
use super::pattern::{Named, failures, passed_meanwhile, suspect};
use super::sentences::{self, SECOND_WINDOW, list};
use super::trial::Trial;
use super::{Found, SoFar};
use crate::record::{Confidence, DiagnosisKind};

/// Row 13: IPv6 addresses fail, IPv4 addresses pass.
pub(super) fn ipv6_only(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let cells = matrix::cells(left, false);
    let is_v6 = |address: Addr| case.ip(address).is_ipv6();
    let entries: Vec<_> =
        cells.iter().map(|cell| Entry { unit: is_v6(cell.address), over: cell.source, nameable: true, cell }).collect();
    let Some(group) = best_group(&entries, false, 2).filter(|g| g.units == [true]) else { return found };
    let here = |t: &Trial| t.address.is_some_and(is_v6);
    let in_time = passed_meanwhile(left, group.question, here, |t| !here(t));
    let because = sentences::compared(&group, "address family");
    match group.grade().filter(|_| in_time) {
        Some(confidence) => {
            let named = Named { confidence, group: &group, failures: failures(left, group.question, here) };
            let mut d = named.diagnosis(case, DiagnosisKind::Ipv6Only, left, here, |t| !here(t));
            d.addresses = case.ips(left.iter().filter_map(|t| t.address).filter(|&a| is_v6(a)));
            d.because.insert(0, format!("every family but IPv6 gets through: {because}"));
            d.advice = "send over IPv4 until the IPv6 path, PTR and SPF of these sources are in order".into();
            if confidence < Confidence::High {
                d.would_raise.push("more IPv6 addresses or sources".to_owned());
                if d.windows < 2 {
                    d.would_raise.push(SECOND_WINDOW.to_owned());
                }
            }
            found.diagnoses.push(d);
            found.explain(left, here);
        }
        None => found.suspects.push(suspect(&group, &[DiagnosisKind::Ipv6Only], because, in_time)),
    }
    found
}

/// Row 18: some of their addresses or backends fail for the sources not yet explained.
pub(super) fn receiver_partial_outage(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let mut remaining = without_sick_neutrals(left);
    let backends = matrix::has_backends(&remaining);
    let families = 2 + u64::from(backends);
    let mut gone: BTreeSet<Unit> = BTreeSet::new();
    loop {
        let by_address = matrix::cells(&remaining, false);
        let by_backend = if backends { matrix::cells(&remaining, true) } else { Vec::new() };
        let addresses = by_address.iter().map(|cell| (Unit::Address(cell.address), cell));
        let behind = by_backend.iter().filter_map(|cell| Some((Unit::Backend(cell.backend?), cell)));
        let group = |entries: &mut dyn Iterator<Item = (Unit, &matrix::Cell)>| {
            let entry = |(unit, cell)| Entry { unit, over: cell_source(cell), nameable: true, cell };
            best_group(&entries.map(entry).collect::<Vec<_>>(), false, families)
        };
        let groups = [group(&mut addresses.into_iter()), group(&mut behind.into_iter())];
        let best =
            groups.into_iter().flatten().min_by(|a, b| a.p.total_cmp(&b.p).then(a.p_sessions.total_cmp(&b.p_sessions)));
        let Some(group) = best else { break };
        let here = |t: &Trial| group.units.iter().any(|u| u.holds(t));
        let is_backend = matches!(group.units.first(), Some(Unit::Backend(_)));
        let rest = |t: &Trial| !here(t) && (!is_backend || t.backend.is_some());
        let in_time = passed_meanwhile(&remaining, group.question, here, rest);
        let (what, units) = if is_backend { ("backend", "backends") } else { ("address", "addresses") };
        let because = format!(
            "{} {} for every source: {}",
            if group.units.len() == 1 { what } else { units },
            list(group.units.iter().map(|u| u.title(case))),
            sentences::compared(&group, what)
        );
        if is_backend && own_sources(&remaining, here, rest) {
            let kinds = [DiagnosisKind::SenderIpBlock, DiagnosisKind::ReceiverPartialOutage];
            let mut s = suspect(&group, &kinds, because, in_time);
            s.because += "; but the sources that meet them meet no other backend";
            s.would_raise = vec!["more sources, so that each backend meets several".to_owned()];
            found.suspects.push(s);
            break;
        }
        let Some(confidence) = group.grade().filter(|_| in_time) else {
            found.suspects.push(suspect(&group, &[DiagnosisKind::ReceiverPartialOutage], because, in_time));
            break;
        };
        let named = Named { confidence, group: &group, failures: failures(&remaining, group.question, here) };
        let mut d = named.diagnosis(case, DiagnosisKind::ReceiverPartialOutage, &remaining, here, rest);
        for unit in &group.units {
            match *unit {
                Unit::Address(a) => d.addresses.push(case.ip(a)),
                Unit::Backend(b) => d.backends.push(case.names().text(b).to_owned()),
            }
        }
        d.addresses.sort_unstable();
        if is_backend {
            d.addresses = case.ips(remaining.iter().filter(|t| here(t)).filter_map(|t| t.address));
        }
        d.because.insert(0, because);
        d.advice = "nothing to change on our side: mail servers go on to the other addresses, deliveries are late at \
                    worst; report it to the provider's postmaster if it lasts"
            .into();
        if confidence < Confidence::High {
            d.would_raise.push("more sources, or more attempts".to_owned());
        }
        if d.windows < 2 {
            d.would_raise.push(SECOND_WINDOW.to_owned());
        }
        found.diagnoses.push(d);
        remaining.retain(|t| !group.units.iter().any(|u| u.holds(t)));
        gone.extend(group.units);
    }
    found.explain(left, |t| gone.iter().any(|u| u.holds(t)));
    found
}

const fn cell_source(cell: &matrix::Cell) -> Addr {
    cell.source
}

/// What a column is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Unit {
    Address(Addr),
    Backend(Name),
}

impl Unit {
    fn holds(self, t: &Trial) -> bool {
        match self {
            Self::Address(a) => t.address == Some(a),
            Self::Backend(b) => t.backend == Some(b),
        }
    }

    fn title(self, case: &Case<'_>) -> String {
        match self {
            Self::Address(a) => case.ip(a).to_string(),
            Self::Backend(b) => case.names().text(b).to_owned(),
        }
    }
}

/// A neutral source that is refused itself says nothing of the addresses.
fn without_sick_neutrals<'t>(left: &[&'t Trial]) -> Vec<&'t Trial> {
    let mut rows: BTreeMap<Addr, Count> = BTreeMap::new();
    for cell in matrix::cells(left, false).iter().filter(|c| c.neutral) {
        let bad = u64::from(cell.count(None).is_bad());
        rows.entry(cell.source).or_default().add(Count { failed: bad, tried: 1 });
    }
    let sick = |t: &&Trial| t.source.and_then(|s| rows.get(&s)).is_some_and(|c| c.mostly_failed());
    left.iter().filter(|t| !sick(t)).copied().collect()
}

/// Whether the sources that meet these backends meet no other.
fn own_sources(trials: &[&Trial], here: impl Fn(&Trial) -> bool, rest: impl Fn(&Trial) -> bool) -> bool {
    let sources = |of: &dyn Fn(&Trial) -> bool| -> BTreeSet<Addr> {
        trials.iter().filter(|t| of(t)).filter_map(|t| t.source).collect()
    };
    sources(&|t| here(t)).is_disjoint(&sources(&|t| rest(t)))
}
