//! Which behaviour a connection meets: by address, source, backend, attempt, time and chance.
//!
//! Nothing here depends on the order in which connections of different cells arrive, so that the
//! same seed gives the same provider however a run is timed.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::values::{Attempts, Net};
use crate::address::Host;

/// One `[[rule]]`: everything that it says must hold.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) addresses: Vec<Net>,
    pub(super) sources: Vec<Net>,
    pub(super) hosts: Vec<Host>,
    pub(super) backends: Vec<String>,
    pub(super) attempts: Option<Attempts>,
    pub(super) count: Count,
    pub(super) chance: Option<f64>,
    pub(super) from: Duration,
    pub(super) until: Option<Duration>,
    pub(super) behaviour: String,
}

/// Over what `attempts` are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Count {
    /// Connections from this source to this address.
    #[default]
    Cell,
    /// Connections from this source.
    Source,
    /// Connections to this address.
    Address,
    All,
}

/// Several backends behind one address.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    pub(super) names: Vec<String>,
    pub(super) choose: Choice,
}

/// How a balancer chooses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Choice {
    /// Each source meets one after the other.
    #[default]
    Turn,
    /// A source always meets the same one.
    Source,
    Chance,
}

/// A connection, as far as rules can tell connections apart.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) source: IpAddr,
    pub(super) address: IpAddr,
    pub(super) host: Host,
    pub(super) backend: String,
    pub(super) counts: Counts,
    /// How long the provider had been up.
    pub(super) at: Duration,
}

/// How many connections there were, this one included.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) cell: u32,
    pub(super) source: u32,
    pub(super) address: u32,
    pub(super) all: u32,
}

/// The behaviour that the first matching rule names.
pub(super) fn behaviour<'a>(rules: &'a [Rule], visit: &Visit, seed: u64) -> Option<&'a str> {
    let mut rules = rules.iter().zip(1..);
    rules.find(|(rule, at)| rule.holds(visit, seed, *at)).map(|(rule, _)| rule.behaviour.as_str())
}

impl Rule {
    fn holds(&self, visit: &Visit, seed: u64, at: u64) -> bool {
        let within = |nets: &[Net], address| nets.is_empty() || nets.iter().any(|net| net.holds(address));
        let count = match self.count {
            Count::Cell => visit.counts.cell,
            Count::Source => visit.counts.source,
            Count::Address => visit.counts.address,
            Count::All => visit.counts.all,
        };
        within(&self.addresses, visit.address)
            && within(&self.sources, visit.source)
            && (self.hosts.is_empty() || self.hosts.contains(&visit.host))
            && (self.backends.is_empty() || self.backends.contains(&visit.backend))
            && self.attempts.is_none_or(|attempts| attempts.hold(count))
            && self.from <= visit.at
            && self.until.is_none_or(|until| visit.at < until)
            && self.chance.is_none_or(|chance| {
                let drawn = draw(&[seed, at, bits(visit.source), bits(visit.address), visit.counts.cell.into()]);
                unit(drawn) < chance
            })
    }
}

impl Balancer {
    /// The backend that the `attempt`th connection from `source` to `address` meets.
    pub(super) fn backend(&self, seed: u64, source: IpAddr, address: IpAddr, attempt: u32) -> &str {
        let of = |parts: &[u64]| draw(parts);
        let number = match self.choose {
            Choice::Turn => of(&[seed, bits(source)]).wrapping_add(attempt.into()),
            Choice::Source => of(&[seed, bits(source)]),
            Choice::Chance => of(&[seed, bits(source), bits(address), attempt.into()]),
        };
        let at = number % self.names.len().max(1) as u64;
        self.names.get(usize::try_from(at).unwrap_or(0)).map_or("", String::as_str)
    }
}

/// A number that depends on all of the parts and on nothing else (`SplitMix64`'s finaliser).
pub(super) fn draw(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state: u64, &part| {
        let z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The number as one of [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

pub(super) fn bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits() & u128::from(u64::MAX)];
            draw(&[u64::try_from(high).unwrap_or(0), u64::try_from(low).unwrap_or(0)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(source: u8, attempt: u32) -> Visit {
        Visit {
            source: [127, 0, 0, source].into(),
            address: [127, 1, 0, 1].into(),
            host: "mx.example".parse().unwrap(),
            backend: "mx.example".to_owned(),
            counts: Counts { cell: attempt, ..Counts::default() },
            at: Duration::ZERO,
        }
    }

    fn rule(chance: f64) -> Rule {
        Rule {
            addresses: vec![],
            sources: vec![],
            hosts: vec![],
            backends: vec![],
            attempts: None,
            count: Count::Cell,
            chance: Some(chance),
            from: Duration::ZERO,
            until: None,
            behaviour: "b".to_owned(),
        }
    }

    #[test]
    fn chance_holds_as_often_as_it_says_and_the_same_way_each_time() {
        let met = |chance, seed| -> Vec<bool> {
            let rules = [rule(chance)];
            (1..=4000).map(|n| behaviour(&rules, &visit(u8::try_from(n % 4).unwrap(), n), seed).is_some()).collect()
        };
        let thirty = met(0.3, 1);
        let share = thirty.iter().filter(|&&met| met).count();
        assert!((1100..1300).contains(&share), "{share} of 4000");
        assert_eq!(thirty, met(0.3, 1));
        assert_ne!(thirty, met(0.3, 2));
        assert!(met(1.0, 1).iter().all(|&met| met));
        assert!(!met(0.0, 1).iter().any(|&met| met));
    }

    #[test]
    fn a_balancer_gives_each_source_its_turn() {
        let names: Vec<_> = ["a.mx", "b.mx", "c.mx"].map(str::to_owned).into();
        let met = |choose, source: u8| -> Vec<String> {
            let balancer = Balancer { names: names.clone(), choose };
            let (source, address) = ([127, 0, 0, source].into(), [127, 1, 0, 1].into());
            (1..=6).map(|n| balancer.backend(7, source, address, n).to_owned()).collect()
        };
        let turns = met(Choice::Turn, 1);
        assert_eq!(turns[..3].iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(turns[..3], turns[3..]);
        assert!(met(Choice::Source, 1).windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(met(Choice::Chance, 2), met(Choice::Chance, 2));
    }
}
