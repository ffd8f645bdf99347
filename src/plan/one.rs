//! One session of the whole matrix: what a probe by HTTP opens, which is asked again and again.

use std::sync::Arc;

use super::{Attempt, Plan};
use crate::record::Role;

/// The one session that a mailer would try first: the most preferred exchanger's lowest address,
/// from the lowest source. The same plan makes the same choice in whatever order it is. Where
/// nothing resolved, the record of that.
#[must_use]
pub fn one(plan: Plan) -> Plan {
    let rank = |attempt: &Arc<Attempt>| {
        let source = attempt.source.as_ref().map(|source| source.address);
        (attempt.address.is_none(), attempt.preference, attempt.address, source, attempt.number)
    };
    let first = plan.firsts().filter(|attempt| attempt.role == Role::Target).min_by_key(|attempt| rank(attempt));
    Plan::listed(first.map(|first| first.renumbered(1)).into_iter().collect(), plan.left_out)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::plan::{Exchanger, Route, Source, plan};
    use crate::probe::layer::ProbeLayer;
    use crate::smtp::fault::{Fault, LookupError};

    fn planned(exchangers: &[(u16, &[&str])], fault: Option<Fault>, seed: u64) -> Plan {
        let domain: crate::address::Host = "mail.example".parse().unwrap();
        let layer = ProbeLayer {
            domain: Some(domain.clone()),
            control: vec!["control.example".parse().unwrap()],
            ..ProbeLayer::default()
        };
        let probe = Arc::new(layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap());
        let exchanger = |(preference, addresses): &(u16, &[&str])| Exchanger {
            name: Some(format!("mx{preference}.mail.example")),
            preference: Some(*preference),
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            fault: None,
            dane: None,
            notes: vec![],
        };
        let route = |role, fault| Route {
            role,
            domain: Some(domain.clone()),
            fault,
            notes: vec![],
            exchangers: exchangers.iter().map(exchanger).collect(),
        };
        let source = |ip: &str| Source {
            address: ip.parse().unwrap(),
            seen_as: ip.parse().unwrap(),
            ehlo: "probe.example".parse().unwrap(),
            neutral: false,
        };
        let sources = ["127.0.0.9", "127.0.0.3", "::1"].map(source);
        plan(&probe, &[route(Role::Control, None), route(Role::Target, fault)], &sources, seed, 1)
    }

    #[test]
    fn the_first_address_from_the_first_source_whatever_the_order() {
        for seed in 0..20 {
            let exchangers: &[(u16, &[&str])] = &[(20, &["127.1.0.1"]), (10, &["127.1.0.7", "127.1.0.5", "::1"])];
            let one = one(planned(exchangers, None, seed));
            let all: Vec<_> = one.attempts().collect();
            let [only] = &all[..] else { panic!("{} sessions", all.len()) };
            let cell = (only.address.map(|a| a.ip()), only.source.as_ref().map(|s| s.address), only.seq, only.role);
            let [address, source] = ["127.1.0.5", "127.0.0.3"].map(|ip| ip.parse::<IpAddr>().ok());
            assert_eq!(cell, (address, source, 1, Role::Target));
        }
    }

    #[test]
    fn what_did_not_resolve_is_one_record() {
        let one = one(planned(&[], Some(Fault::Dns(LookupError::Nxdomain)), 1));
        assert!(one.attempts().map(|attempt| attempt.fault.is_some()).eq([true]));
    }
}
