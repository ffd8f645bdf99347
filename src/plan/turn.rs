//! One address per source a round instead of the whole matrix: what a watch does that goes on for
//! ever, where each provider's address is met often enough without meeting all of them at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Attempt, Plan};
use crate::record::Role;

/// What of `plan` is this turn's: of each source, the sessions to one of the addresses it can
/// reach, in turn. Two sources are at different addresses, as far as there are as many, so that
/// every address is met as soon as can be; after as many turns as there are addresses every cell
/// has been. Controls, and records of what did not resolve, are in every turn.
///
/// `first` is the number of the first session.
#[must_use]
pub fn turn(plan: Plan, number: u64, first: u64) -> Plan {
    let mut reach: BTreeMap<IpAddr, Vec<(Option<u16>, IpAddr)>> = BTreeMap::new();
    for attempt in plan.firsts() {
        if let Some((source, address)) = cell(attempt) {
            reach.entry(source).or_default().push((attempt.preference, address));
        }
    }
    let mut picked = BTreeMap::new();
    for (at, (source, addresses)) in (0_u64..).zip(&mut reach) {
        addresses.sort_unstable();
        addresses.dedup();
        let index = number.wrapping_add(at) % addresses.len().max(1) as u64;
        picked.extend(usize::try_from(index).ok().and_then(|index| addresses.get(index)).map(|at| (*source, at.1)));
    }
    let is_picked =
        |attempt: &Arc<Attempt>| cell(attempt).is_none_or(|(source, address)| picked.get(&source) == Some(&address));
    plan.kept(is_picked, first)
}

/// How many turns it takes until every cell of the plan has been.
#[must_use]
pub fn turns(plan: &Plan) -> u64 {
    let mut reach: BTreeMap<IpAddr, Vec<IpAddr>> = BTreeMap::new();
    for (source, address) in plan.firsts().filter_map(|attempt| cell(attempt)) {
        let reached = reach.entry(source).or_default();
        if !reached.contains(&address) {
            reached.push(address);
        }
    }
    reach.values().map(|addresses| addresses.len() as u64).max().unwrap_or(1)
}

/// The cell of the matrix, where it is one.
fn cell(attempt: &Attempt) -> Option<(IpAddr, IpAddr)> {
    let address = attempt.address?.ip();
    let source = attempt.source.as_ref().filter(|_| attempt.role != Role::Control)?;
    Some((source.address, address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Exchanger, Route, Source, plan};
    use crate::probe::layer::{LimitsLayer, ProbeLayer};

    fn world(sources: u8, addresses: u8, attempts: u32) -> Plan {
        let layer = ProbeLayer {
            domain: Some("mail.example".parse().unwrap()),
            limits: LimitsLayer { attempts: Some(attempts), ..LimitsLayer::default() },
            ..ProbeLayer::default()
        };
        let probe = Arc::new(layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap());
        let route = |role, net: u8, count: u8| Route {
            role,
            domain: probe.target.domain.clone(),
            fault: None,
            notes: vec![],
            exchangers: (1..=count)
                .map(|n| Exchanger {
                    name: Some(format!("mx{n}.mail.example")),
                    preference: Some(10),
                    addresses: vec![IpAddr::from([127, net, 0, n])],
                    fault: None,
                    dane: None,
                    notes: vec![],
                })
                .collect(),
        };
        let source = |n| Source {
            address: IpAddr::from([127, 0, 0, n]),
            seen_as: IpAddr::from([127, 0, 0, n]),
            ehlo: "probe.example".parse().unwrap(),
            neutral: n == sources,
        };
        let sources: Vec<_> = (1..=sources).map(source).collect();
        plan(&probe, &[route(Role::Target, 1, addresses), route(Role::Control, 2, 1)], &sources, 7, 1)
    }

    #[test]
    fn each_turn_has_one_address_a_source_and_all_turns_have_every_cell() {
        for (sources, addresses, attempts) in [(1, 1, 1), (1, 8, 1), (3, 8, 2), (8, 3, 1)] {
            let whole = world(sources, addresses, attempts);
            assert_eq!(turns(&whole), u64::from(addresses));
            let mut met = BTreeSet::new();
            for number in 5..5 + u64::from(addresses) {
                let part = turn(whole.clone(), number, 1);
                let cells: Vec<_> = part.attempts().filter_map(|attempt| cell(&attempt)).collect();
                assert_eq!(cells.len(), usize::from(sources) * attempts as usize);
                let controls = part.attempts().filter(|attempt| attempt.role == Role::Control).count();
                assert_eq!(controls, usize::from(sources), "controls are in every turn");
                assert!(part.attempts().map(|attempt| attempt.seq).eq(1..=part.len()));
                let at: BTreeSet<_> = cells.iter().map(|cell| cell.1).collect();
                assert_eq!(at.len(), usize::from(sources.min(addresses)), "sources spread over the addresses");
                met.extend(cells);
            }
            assert_eq!(met.len(), usize::from(sources) * usize::from(addresses));
        }
    }
}
