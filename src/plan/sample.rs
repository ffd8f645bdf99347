//! A sample of the matrix instead of the whole: so many sessions, round-robin over all addresses,
//! spread over time. What `reproduce` needs, whose question is not "who refuses whom" but "does
//! this error show, and how often at most".

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Plan, Route, Source, Stretch, plan};
use crate::address::is_private;
use crate::probe::{HostSpec, Probe};
use crate::record::Role;

/// How large a sample is, and where it begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// Sessions at the target, controls and neutral ones aside.
    pub sessions: u64,
    /// Attempts per cell at most.
    pub per_cell: Option<u32>,
    /// What the sample may take in all; sessions that could not start in it are left out.
    pub time: Option<Duration>,
    /// The exchangers to begin with, as far as they are among those that are probed at all.
    pub first: Vec<HostSpec>,
    /// Leave out addresses that are not public: the domain was named by somebody unknown.
    pub public_only: bool,
}

/// So many windows are made where there is time for a pause between them.
const WINDOWS: u64 = 3;

/// A pause between windows, in paces: 20 minutes at the pace that is the default.
const PAUSE: u32 = 20;

/// Expands a probe into a sample, without I/O.
///
/// Every address has its turn before any has a second one, and every cell before any has a second
/// attempt. Controls come first, neutral sources after the first turn. The sessions lie in up to
/// three windows, with pauses between them that the pace and the time allow: none where the pace
/// is zero.
#[must_use]
pub fn sample(
    probe: &Arc<Probe>,
    routes: &[Route],
    sources: &[Source],
    seed: u64,
    first: u64,
    sample: &Sample,
) -> Plan {
    let Plan { stretches, mut left_out } = plan(probe, routes, sources, seed, first);
    let once = stretches.into_iter().filter_map(Stretch::listed).flatten();
    let (mut cells, beside): (Vec<_>, Vec<_>) =
        once.partition(|cell| cell.role == Role::Target && cell.address.is_some());
    if sample.public_only {
        let (public, private): (Vec<_>, Vec<_>) = cells.into_iter().partition(|cell| address(cell).is_none_or(public));
        cells = public;
        let private: BTreeSet<IpAddr> = private.iter().filter_map(|cell| address(cell)).collect();
        left_out.extend(private.iter().map(|ip| {
            format!(
                "{ip}: not a public address, and only the report names its domain: --dns, --host or --own-mx lifts it"
            )
        }));
    }
    let (neutral, before): (Vec<_>, Vec<_>) = beside.into_iter().partition(|cell| cell.role == Role::Neutral);
    let turns = turns(&cells, &sample.first);
    let per_cell = sample.per_cell.map_or(u64::MAX, u64::from);
    let wanted = sample.sessions.min((turns.len() as u64).saturating_mul(per_cell));
    let drawn = spread(&turns, wanted, sample.time);

    let neutral = neutral.into_iter().filter(|cell| !sample.public_only || address(cell).is_none_or(public));
    let turn = drawn.len().min(turns.len());
    let whole = before.into_iter().map(unwrapped).chain(drawn[..turn].iter().cloned());
    let whole = whole.chain(neutral.map(unwrapped)).chain(drawn[turn..].iter().cloned());
    let attempts = whole.zip(first..).map(|(attempt, seq)| Arc::new(Attempt { seq, ..attempt })).collect();
    match sample.time {
        Some(time) => fit(attempts, left_out, time, first),
        None => Plan::listed(attempts, left_out),
    }
}

fn address(attempt: &Attempt) -> Option<IpAddr> {
    attempt.address.map(|address| address.ip())
}

fn public(ip: IpAddr) -> bool {
    !is_private(ip)
}

fn unwrapped(attempt: Arc<Attempt>) -> Attempt {
    Arc::unwrap_or_clone(attempt)
}

/// The cells in the order of their turns: an address of each before the next of any, and each
/// address with another source in each round. What is to come first does.
fn turns(cells: &[Arc<Attempt>], first: &[HostSpec]) -> Vec<Arc<Attempt>> {
    let mut addresses: Vec<(IpAddr, Vec<&Arc<Attempt>>)> = Vec::new();
    for cell in cells {
        let Some(ip) = address(cell) else { continue };
        match addresses.iter_mut().find(|(known, _)| *known == ip) {
            Some((_, there)) => there.push(cell),
            None => addresses.push((ip, vec![cell])),
        }
    }
    let named = |(ip, there): &(IpAddr, Vec<&Arc<Attempt>>)| {
        let mx = there.first().and_then(|cell| cell.mx.as_deref());
        let is = |host: &HostSpec| match host {
            HostSpec::Address(address) => address == ip,
            HostSpec::Name(name) => mx.is_some_and(|mx| mx.eq_ignore_ascii_case(name.as_str())),
        };
        first.iter().position(is).unwrap_or(usize::MAX)
    };
    addresses.sort_by_key(named);
    let (mut turns, rounds) = (Vec::new(), addresses.iter().map(|(_, there)| there.len()).max().unwrap_or(0));
    for round in 0..rounds {
        for (at, (_, there)) in addresses.iter().enumerate().filter(|(_, (_, there))| round < there.len()) {
            turns.push(Arc::clone(there[(round + at) % there.len()]));
        }
    }
    turns
}

/// Draws `wanted` sessions in turn and lays them into windows.
fn spread(turns: &[Arc<Attempt>], wanted: u64, time: Option<Duration>) -> Vec<Attempt> {
    let Some(limits) = turns.first().map(|cell| &cell.probe.limits) else { return Vec::new() };
    let (cells, windows) = (turns.len() as u64, WINDOWS.min(wanted.max(1)));
    let rounds = |sessions: u64| u32::try_from(sessions.div_ceil(cells)).unwrap_or(u32::MAX);
    let full = |sessions: u64| u32::try_from(sessions / u64::from(limits.rate.starts.max(1))).unwrap_or(u32::MAX);
    let paced = |sessions: u64| limits.pace.saturating_mul(rounds(sessions).saturating_sub(1));
    let least = paced(wanted).max(limits.rate.per.saturating_mul(full(wanted)));
    let room = time.map_or(Duration::MAX, |time| time.saturating_sub(least));
    let pause = limits.pace.saturating_mul(PAUSE).min(room / u32::try_from(windows).unwrap_or(1));
    let draw = |n: u64| {
        let window = n * windows / wanted;
        let begun = (window * wanted).div_ceil(windows);
        let at = usize::try_from(n % cells).unwrap_or_default();
        let number = u32::try_from(n / cells).unwrap_or(u32::MAX).saturating_add(1);
        let pauses = pause.saturating_mul(u32::try_from(window).unwrap_or(u32::MAX));
        let not_before = if window == 0 { Duration::ZERO } else { paced(begun + 1).saturating_add(pauses) };
        Attempt { number, not_before, ..(*turns[at]).clone() }
    };
    (0..wanted).map(draw).collect()
}

/// Leaves out what could not start in time, and says so.
fn fit(attempts: Vec<Arc<Attempt>>, mut left_out: Vec<String>, time: Duration, first: u64) -> Plan {
    let all = Plan::listed(attempts, Vec::new());
    let mut starts = all.starts();
    let in_time = all.firsts().filter(|attempt| starts.start(attempt) < time);
    let renumbered = in_time.zip(first..).map(|(attempt, seq)| attempt.renumbered(seq));
    let attempts: Vec<_> = renumbered.collect();
    let late = all.len() - attempts.len() as u64;
    if late == 0 {
        return Plan::listed(attempts, left_out);
    }
    let time = humantime::format_duration(time.max(Duration::from_millis(1)));
    left_out.push(format!(
        "{late} of the sessions wanted: they could not start within {time} (--max-time, --pace, --rate)"
    ));
    Plan::listed(attempts, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Exchanger;
    use crate::probe::layer::{LimitsLayer, ProbeLayer};
    use crate::source::SourceSpec;

    fn world(addresses: u8, sources: u8, pace: u64, sample_of: &Sample) -> Plan {
        let layer = ProbeLayer {
            domain: Some("mail.example".parse().unwrap()),
            sources: vec!["127.0.0.0/28".parse::<SourceSpec>().unwrap()],
            limits: LimitsLayer { pace: Some(Duration::from_secs(pace)), ..LimitsLayer::default() },
            ..ProbeLayer::default()
        };
        let probe = Arc::new(layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap());
        let exchanger = |n| Exchanger {
            name: Some(format!("mx{n}.mail.example")),
            preference: Some(10),
            addresses: vec![IpAddr::from([127, 1, 0, n])],
            fault: None,
            notes: vec![],
            dane: None,
        };
        let route = Route {
            role: Role::Target,
            domain: probe.target.domain.clone(),
            fault: None,
            notes: vec![],
            exchangers: (1..=addresses).map(exchanger).collect(),
        };
        let source = |n| Source {
            address: IpAddr::from([127, 0, 0, n]),
            seen_as: IpAddr::from([127, 0, 0, n]),
            ehlo: "probe.example".parse().unwrap(),
            neutral: false,
        };
        let sources: Vec<_> = (1..=sources).map(source).collect();
        sample(&probe, &[route], &sources, 7, 1, sample_of)
    }

    fn of(sessions: u64) -> Sample {
        Sample { sessions, ..Sample::default() }
    }

    #[test]
    fn every_address_and_every_cell_has_its_turn_before_a_second_one() {
        for (addresses, sources, sessions) in [(8, 1, 29), (2, 3, 29), (1, 1, 5), (8, 4, 29), (3, 2, 6)] {
            let plan = world(addresses, sources, 0, &of(sessions));
            assert_eq!(plan.len(), sessions);
            let attempts: Vec<_> = plan.attempts().collect();
            let cells = usize::from(addresses) * usize::from(sources);
            for round in attempts.chunks(cells) {
                let distinct: BTreeSet<_> =
                    round.iter().map(|a| (a.address, a.source.as_ref().map(|s| s.address))).collect();
                assert_eq!(distinct.len(), round.len());
                assert!(round.iter().all(|a| a.number == round[0].number));
            }
            for turn in attempts.chunks(usize::from(addresses)) {
                assert_eq!(turn.iter().map(|a| a.address).collect::<BTreeSet<_>>().len(), turn.len());
            }
            assert!(plan.attempts().map(|a| a.seq).eq(1..=sessions));
            assert!(plan.attempts().all(|a| a.not_before.is_zero()), "no pace, no windows");
        }
    }

    #[test]
    fn the_windows_are_apart_as_far_as_there_is_time() {
        let gaps = |time: u64, sessions| {
            let time = (time > 0).then(|| Duration::from_mins(time));
            let plan = world(8, 1, 60, &Sample { time, ..of(sessions) });
            let begins: BTreeSet<_> = plan.attempts().map(|a| a.not_before.as_secs()).collect();
            (plan.len(), begins.into_iter().collect::<Vec<_>>())
        };
        // 29 sessions at 8 addresses: windows of 10, 10 and 9, of which a cell's second attempt is
        // the first in the second.
        assert_eq!(gaps(0, 29), (29, vec![0, 60 + 1200, 120 + 2400]));
        assert_eq!(gaps(60, 29), (29, vec![0, 60 + 1140, 120 + 2280]));
        assert_eq!(gaps(10, 29), (29, vec![0, 60 + 140, 120 + 280]));
        assert_eq!(gaps(10, 1), (1, vec![0]));
        // There is time for three rounds of eight.
        assert_eq!(gaps(3, 29).0, 24);
    }

    #[test]
    fn what_is_late_or_not_public_is_left_out_and_said() {
        let time = Some(Duration::from_mins(10));
        let plan = world(1, 1, 60, &Sample { time, ..of(29) });
        assert_eq!(plan.len(), 10);
        assert!(plan.left_out[0].starts_with("19 of the sessions wanted"), "{:?}", plan.left_out);
        let plan = world(2, 1, 60, &Sample { public_only: true, ..of(29) });
        assert_eq!((plan.len(), plan.left_out.len()), (0, 2));
        let plan = world(4, 2, 0, &Sample { per_cell: Some(1), ..of(29) });
        assert_eq!(plan.len(), 8);
    }

    #[test]
    fn the_hosts_to_begin_with_do_not_add_to_the_others() {
        let first = ["mx3.mail.example", "127.1.0.2", "203.0.113.9"].map(|host| host.parse().unwrap()).to_vec();
        let plan = world(4, 1, 0, &Sample { first, ..of(4) });
        let order: Vec<_> = plan.attempts().map(|a| a.address.unwrap().ip().to_string()).collect();
        assert_eq!(order[..2], ["127.1.0.3", "127.1.0.2"]);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 4);
    }
}
