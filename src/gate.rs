//! The gate of a smoke test: from the checks, the sessions and the diagnoses to a verdict per
//! source and one on the whole campaign.
//!
//! Nothing is GO by default. A check that could not be made, a source that was not tried: each
//! stands in the way until it is known to be sound, and says so.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use crate::probe;
use crate::record::{Check, Diagnosis, Gate, Session, Verdict, stamp};

mod obstacle;
#[cfg(test)]
mod tests;

use obstacle::Obstacle;

/// What the verdicts on one target rest on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The target's domain; None where only hosts were given.
    pub domain: Option<&'a str>,
    pub settings: &'a probe::Gate,
    /// The sources in question: our own, the neutral ones aside.
    pub sources: &'a [IpAddr],
    /// Those of this run; what is about another target is passed over.
    pub checks: &'a [Check],
    pub sessions: &'a [Session],
    pub diagnoses: &'a [Diagnosis],
    /// When it is judged.
    pub now: Timestamp,
}

/// A verdict for each source, in order, and the one on the whole campaign behind them.
#[must_use]
pub fn verdicts(ground: &Ground<'_>) -> Vec<Gate> {
    let found: Vec<Vec<Obstacle>> = ground.sources.iter().map(|&source| obstacle::of(ground, source)).collect();
    let sources = ground.sources.iter().zip(&found);
    let mut gates: Vec<Gate> =
        sources.map(|(&source, obstacles)| Gate { source: Some(source), ..verdict(obstacles) }).collect();
    let common = found.iter().flatten().find(|obstacle| obstacle.common);
    gates.push(if gates.is_empty() { nobody(ground) } else { whole(&gates, common, ground.settings) });
    for gate in &mut gates {
        gate.domain = ground.domain.map(str::to_owned);
    }
    gates
}

/// The exit status: 0 every target is GO, 1 not, 3 what stands in the way of a GO could not be
/// found out.
#[must_use]
pub fn exit(gates: &[Gate]) -> u8 {
    let stuck = || gates.iter().filter(|gate| gate.source.is_none() && gate.verdict != Verdict::Go);
    if gates.is_empty() {
        3
    } else if stuck().next().is_none() {
        0
    } else if stuck().all(|gate| gate.unknown) {
        3
    } else {
        1
    }
}

/// The sources that are GO at every target they were looked at for, in order.
#[must_use]
pub fn pool(gates: &[Gate]) -> Vec<IpAddr> {
    let of = |go: bool| gates.iter().filter(move |gate| (gate.verdict == Verdict::Go) == go).filter_map(|g| g.source);
    let stuck: BTreeSet<IpAddr> = of(false).collect();
    let free: BTreeSet<IpAddr> = of(true).filter(|source| !stuck.contains(source)).collect();
    free.into_iter().collect()
}

/// The whole where no source is known, because nothing was found to send to: what stands in the way
/// of all is known nonetheless, and the rest could not be found out.
fn nobody(ground: &Ground<'_>) -> Gate {
    let obstacles = obstacle::of(ground, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let wanted = ground.settings.min_go.unwrap_or(1).max(1);
    Gate { go: Some(0), wanted: Some(wanted), warn: ground.settings.warn.clone(), ..verdict(&obstacles) }
}

/// So many of a source's obstacles are named.
const NAMED: usize = 3;

/// What comes of a source's obstacles, the gravest first. Its own are named; what is in the way of
/// every source is told once, in the verdict on the whole.
fn verdict(obstacles: &[Obstacle]) -> Gate {
    let mut gate = Gate {
        run: String::new(),
        domain: None,
        source: None,
        verdict: Verdict::Go,
        until: None,
        reason: None,
        fix: None,
        unknown: false,
        go: None,
        wanted: None,
        warn: Vec::new(),
    };
    let (common, own): (Vec<&Obstacle>, Vec<&Obstacle>) = obstacles.iter().partition(|obstacle| obstacle.common);
    let Some(first) = obstacles.first() else { return gate };
    // What one deed mends is one thing.
    let mut mended: Vec<&String> = common.iter().filter_map(|obstacle| obstacle.fix.as_ref()).collect();
    let own: Vec<&Obstacle> = own
        .into_iter()
        .filter(|obstacle| match &obstacle.fix {
            Some(fix) if mended.contains(&fix) => false,
            fix => {
                mended.extend(fix);
                true
            }
        })
        .collect();
    let mut told: Vec<String> = own.iter().take(NAMED).map(|obstacle| obstacle.reason.clone()).collect();
    if own.len() > NAMED {
        told.push(format!("and {} more", own.len() - NAMED));
    }
    if !common.is_empty() {
        let mut names: Vec<&str> = common.iter().map(|obstacle| obstacle.name()).collect();
        names.dedup();
        told.push(format!("what is in the way of all: {}", names.join(", ")));
    }
    gate.verdict = first.verdict;
    gate.unknown = first.unknown;
    gate.until = obstacles.iter().filter_map(|o| o.until).max().map(stamp);
    gate.reason = Some(told.join("; "));
    gate.fix.clone_from(&own.first().unwrap_or(&first).fix);
    gate
}

/// The whole campaign: GO with enough sources; HOLD where waiting can give enough; else NO-GO.
fn whole(sources: &[Gate], common: Option<&Obstacle>, settings: &probe::Gate) -> Gate {
    let all = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let wanted = settings.min_go.unwrap_or(all).max(1);
    let count =
        |is: &dyn Fn(&Gate) -> bool| u32::try_from(sources.iter().filter(|g| is(g)).count()).unwrap_or(u32::MAX);
    let go = count(&|g| g.verdict == Verdict::Go);
    let held = count(&|g| g.verdict == Verdict::Hold && !g.unknown);
    let unknown = count(&|g| g.unknown);
    let mut gate = Gate { go: Some(go), wanted: Some(wanted), warn: settings.warn.clone(), ..verdict(&[]) };
    if go >= wanted {
        return gate;
    }
    let missing = (wanted - go) as usize;
    gate.reason = Some(if wanted > all {
        format!("{wanted} sources are wanted, and there are {all}")
    } else {
        format!("{go} of {} GO, wanted {wanted}", plural(all))
    });
    if go + held >= wanted {
        gate.verdict = Verdict::Hold;
        // When as many as are missing may be looked at again.
        let mut ends: Vec<Option<Timestamp>> =
            sources.iter().filter(|g| g.verdict == Verdict::Hold && !g.unknown).map(|g| g.until).collect();
        ends.sort();
        gate.until = ends.get(missing - 1).copied().flatten();
    } else if go + held + unknown >= wanted {
        (gate.verdict, gate.unknown) = (Verdict::Hold, true);
    } else {
        gate.verdict = Verdict::NoGo;
    }
    if let Some(common) = common {
        gate.reason = gate.reason.map(|reason| format!("{reason}; in the way of all: {}", common.reason));
        gate.fix.clone_from(&common.fix);
    }
    gate
}

fn plural(sources: u32) -> String {
    if sources == 1 { "1 source is".to_owned() } else { format!("{sources} sources are") }
}
