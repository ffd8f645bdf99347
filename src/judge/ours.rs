//! Faults on our own side of the wire: the host, the way out, the address we are seen as. Rows 1, 5,
//! 6 and 7 of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::case::Case;
use super::names::{Addr, Name};
use super::sentences::{self, CONTROL, connections, diagnosis, list, undecided, visible};
use super::time::windows;
use super::trial::Trial;
use super::{Found, SoFar};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Elsewhere, Kind};
use crate::stage::Stage;

/// Row 1: sessions that our own host could not even begin.
pub(super) fn local_config(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    // A resolver that cannot be reached is the next row's.
    let local: Vec<&Trial> =
        case.aside.iter().filter(|t| t.kind == Kind::Local && t.stage != Some(Stage::Resolve)).collect();
    if local.is_empty() {
        return found;
    }
    let mut d = diagnosis(DiagnosisKind::LocalConfig, Confidence::Certain);
    d.sources = case.ips(local.iter().filter_map(|t| t.source));
    d.stage = local.iter().filter_map(|t| t.stage).min();
    d.failed = sentences::sessions(local.iter().copied());
    d.tried = d.failed;
    d.elsewhere = elsewhere(left);
    let mut details: BTreeMap<(Option<&str>, Option<Addr>), u64> = BTreeMap::new();
    for t in &local {
        *details.entry((t.detail.map(|n| case.names().text(n)), t.source)).or_default() += t.weight;
    }
    d.because.extend(details.iter().take(6).map(|((detail, source), n)| {
        let source = source.map_or_else(|| "no source".to_owned(), |s| case.ip(s).to_string());
        let detail = detail.map(|text| format!(": {}", visible(text))).unwrap_or_default();
        format!("{} from {source} could not be made on this host{detail}", connections(*n))
    }));
    if details.len() > 6 {
        d.because.push(format!("and so for {} more", sentences::plural(details.len() as u64 - 6, "source or reason")));
    }
    d.windows = windows(local.iter().copied());
    d.advice = "put the addresses on this host, give them a route, or raise the limit on open files; nothing here \
                says anything about the provider"
        .into();
    found.diagnoses.push(d);
    found
}

fn elsewhere(left: &[&Trial]) -> Elsewhere {
    let sum = |bad: bool| left.iter().filter(|t| t.failed() || !bad).map(|t| t.weight).sum();
    Elsewhere { failed: sum(true), tried: sum(false) }
}

/// How one source connects.
#[derive(Default)]
struct Way {
    tried: u64,
    unconnected: u64,
    timed_out: u64,
    at: BTreeSet<Addr>,
}

/// Row 5: no connection leaves this source, to whomever.
pub(super) fn egress_blocked(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let mut ways: BTreeMap<Addr, Way> = BTreeMap::new();
    let mut connected_at: BTreeMap<Addr, BTreeSet<Addr>> = BTreeMap::new();
    for t in left {
        let (Some(source), Some(address)) = (t.source, t.address) else { continue };
        let way = ways.entry(source).or_default();
        way.tried += t.weight;
        way.at.insert(address);
        if t.failed() && t.stage <= Some(Stage::Connect) {
            way.unconnected += t.weight;
            way.timed_out += if t.kind == Kind::TimedOut { t.weight } else { 0 };
        } else {
            connected_at.entry(address).or_default().insert(source);
        }
    }
    let control = |source: &Addr| case.controls.get(source).copied().unwrap_or_default();
    let stuck = |(source, way): &(&Addr, &Way)| {
        let c = control(source);
        way.unconnected == way.tried && c.tried > 0 && c.unconnected == c.tried
    };
    let mut by_confidence: BTreeMap<Option<Confidence>, BTreeSet<Addr>> = BTreeMap::new();
    for (source, way) in ways.iter().filter(stuck) {
        let confidence = match way.tried + control(source).tried {
            4.. => Some(Confidence::High),
            3 => Some(Confidence::Medium),
            _ => None,
        };
        by_confidence.entry(confidence).or_default().insert(*source);
    }
    let stuck: BTreeSet<Addr> = by_confidence.values().flatten().copied().collect();
    for (confidence, sources) in &by_confidence {
        let count = |s: &Addr| (ways.get(s).map_or(0, |w| w.tried), control(s).tried);
        let (target, controls) = sources.iter().map(count).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        found.diagnoses.push(egress(case, left, *confidence, sources, (target, controls), stuck.len() == ways.len()));
    }
    found.explain(left, |t| t.source.is_some_and(|s| stuck.contains(&s)));

    // Without a control, a drop on our side and one on theirs look alike.
    let unstuck = ways.iter().filter(|(s, _)| !stuck.contains(s) && control(s).tried == 0);
    let silent: BTreeSet<Addr> = unstuck
        .filter(|(source, way)| {
            let others = |a: &Addr| connected_at.get(a).is_some_and(|s| s.iter().any(|s| s != *source));
            way.timed_out == way.tried && way.at.iter().any(others)
        })
        .map(|(source, _)| *source)
        .collect();
    let all_stuck = !ways.is_empty() && stuck.is_empty() && connected_at.is_empty() && case.controls.is_empty();
    if !silent.is_empty() {
        let here = |t: &Trial| t.source.is_some_and(|s| silent.contains(&s));
        found.diagnoses.push(no_control(case, left, here, DiagnosisKind::SenderIpBlock));
        found.explain(left, here);
    } else if all_stuck {
        found.diagnoses.push(no_control(case, left, |_| true, DiagnosisKind::ReceiverOutage));
        found.explain(left, |_| true);
    }
    found
}

fn egress(
    case: &Case<'_>,
    left: &[&Trial],
    confidence: Option<Confidence>,
    sources: &BTreeSet<Addr>,
    (target, controls): (u64, u64),
    whole_host: bool,
) -> Diagnosis {
    let kind = DiagnosisKind::EgressBlocked;
    let mut d = if let Some(confidence) = confidence {
        diagnosis(kind, confidence)
    } else {
        let other = if whole_host { DiagnosisKind::ReceiverOutage } else { DiagnosisKind::SenderIpBlock };
        undecided([kind, other], Some(kind))
    };
    let here = |t: &&Trial| t.source.is_some_and(|s| sources.contains(&s));
    let failures: Vec<&Trial> = left.iter().copied().filter(here).collect();
    d.sources = case.ips(sources.iter().copied());
    d.stage = Some(Stage::Connect);
    (d.failed, d.tried) = (target + controls, target + controls);
    let rest: Vec<&Trial> = left.iter().copied().filter(|t| !here(t)).collect();
    d.elsewhere = elsewhere(&rest);
    d.windows = windows(failures.iter().copied());
    let who = if whole_host { "this host".to_owned() } else { sentences::ips(&d.sources) };
    d.because.push(format!(
        "from {who} not one of {} to {} and not one of {} elsewhere was set up",
        connections(target),
        visible(case.title()),
        connections(controls)
    ));
    d.because.extend(sentences::words(case, &failures));
    if confidence != Some(Confidence::High) {
        d.would_raise.push("four connections or more per source, controls included".to_owned());
    }
    if confidence.is_some() {
        d.advice = "ask whoever runs this network to open port 25 outbound for these addresses; no provider can be \
                    judged from here until then"
            .into();
    }
    d
}

/// Connections that fail, and nothing to compare with.
fn no_control(case: &Case<'_>, left: &[&Trial], here: impl Fn(&Trial) -> bool, other: DiagnosisKind) -> Diagnosis {
    let failures: Vec<&Trial> = left.iter().copied().filter(|t| here(t)).collect();
    let rest: Vec<&Trial> = left.iter().copied().filter(|t| !here(t)).collect();
    let mut d = undecided([DiagnosisKind::EgressBlocked, other], None);
    d.sources = case.ips(failures.iter().filter_map(|t| t.source));
    d.stage = Some(Stage::Connect);
    d.failed = failures.iter().map(|t| t.weight).sum();
    d.tried = d.failed;
    d.elsewhere = elsewhere(&rest);
    d.windows = windows(failures.iter().copied());
    d.because.push(if other == DiagnosisKind::SenderIpBlock {
        format!(
            "every connection from {} times out ({}) while other sources connect to the same addresses",
            sentences::ips(&d.sources),
            connections(d.failed)
        )
    } else {
        format!("not one of {} to {} was set up, from any source", connections(d.failed), visible(case.title()))
    });
    d.because.extend(sentences::words(case, &failures));
    d.would_raise.push(CONTROL.to_owned());
    d
}

/// Row 6: somebody else answers on port 25.
pub(super) fn interception(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let targets: BTreeSet<Addr> = left.iter().filter_map(|t| t.address).collect();
    let mut of_source: BTreeMap<Addr, Paths<'_>> = BTreeMap::new();
    for t in left {
        if let Some(source) = t.source {
            of_source.entry(source).or_default().target.push(t);
        }
    }
    for t in case.ground.controls.iter().filter(|t| t.address.is_none_or(|a| !targets.contains(&a))) {
        if let Some(paths) = t.source.and_then(|s| of_source.get_mut(&s)) {
            paths.control.push(t);
        }
    }
    let mut caught: BTreeMap<Addr, String> = BTreeMap::new();
    for (source, paths) in of_source {
        let greetings = |of: &[&Trial]| of.iter().filter_map(|t| t.greeting).collect::<BTreeSet<_>>();
        let (here, there) = (greetings(&paths.target), greetings(&paths.control));
        if here.len() == 1 && here == there {
            let greeting = here.first().map_or("", |g| case.names().text(*g));
            caught.insert(source, format!("the control and the target greet alike, as {}", visible(greeting)));
        } else if let Some(names) = foreign_certificate(case, &paths) {
            caught.insert(source, format!("every address shows the certificate of {}", visible(&names)));
        }
    }
    if caught.is_empty() {
        return found;
    }
    let here = |t: &Trial| t.source.is_some_and(|s| caught.contains_key(&s));
    let mut d = diagnosis(DiagnosisKind::Port25Interception, Confidence::High);
    d.sources = case.ips(caught.keys().copied());
    let mine: Vec<&Trial> = left.iter().copied().filter(|t| here(t)).collect();
    let rest: Vec<&Trial> = left.iter().copied().filter(|t| !here(t)).collect();
    (d.failed, d.tried) = (elsewhere(&mine).failed, elsewhere(&mine).tried);
    d.elsewhere = elsewhere(&rest);
    d.windows = windows(mine.iter().copied());
    let whys: BTreeSet<&String> = caught.values().collect();
    d.because.extend(whys.into_iter().map(|why| {
        let sources = caught.iter().filter(|(_, w)| *w == why).map(|(s, _)| case.ip(*s));
        format!("from {} {why}", list(sources))
    }));
    d.advice = "something between this host and the providers answers on port 25: ask whoever runs this network to \
                let it through"
        .into();
    found.diagnoses.push(d);
    found.explain(left, here);
    found
}

/// One source's sessions at the target and at controls.
#[derive(Default)]
struct Paths<'t> {
    target: Vec<&'t Trial>,
    control: Vec<&'t Trial>,
}

/// The certificate of another operator that every address of the target shows.
///
/// One that a trusted issuer vouches for under the exchanger's name is theirs, whatever the name;
/// and where the servers call themselves by that operator's name too, it is mail hosted under a name
/// of one's own, unless the control shows the same certificate. A single address tells too little.
fn foreign_certificate(case: &Case<'_>, paths: &Paths<'_>) -> Option<String> {
    let mine = &paths.target;
    let addresses: BTreeSet<_> = mine.iter().filter_map(|t| t.address).collect();
    let shown: BTreeSet<_> = mine.iter().filter(|t| t.certificate.is_some()).filter_map(|t| t.address).collect();
    let certificates: BTreeSet<_> = mine.iter().filter_map(|t| t.certificate).collect();
    let everywhere = paths.control.iter().any(|c| c.certificate.is_some_and(|n| certificates.contains(&n)));
    if shown != addresses || shown.len() < 2 && !everywhere || shown.is_empty() {
        return None;
    }
    let text = |n: Name| case.names().text(n);
    let mut operators = BTreeSet::new();
    // What differs between two sessions in this is told apart once, not session by session.
    let told: BTreeSet<_> = mine
        .iter()
        .filter(|t| t.certificate.is_some())
        .map(|t| (t.certificate, t.verified, t.mx, t.domain, t.backend, t.greeting))
        .collect();
    for (certificate, verified, mx, domain, backend, greeting) in told {
        let names: BTreeSet<String> = text(certificate?).split(' ').filter_map(operator).collect();
        let mut expected = [mx, domain].into_iter().flatten().filter_map(|n| operator(text(n)));
        let mut calls_itself = [backend, greeting].into_iter().flatten().filter_map(|n| operator(text(n)));
        if verified || names.is_empty() || mx.is_none() || expected.any(|o| names.contains(&o)) {
            return None;
        }
        if !everywhere && calls_itself.any(|o| names.contains(&o)) {
            return None;
        }
        operators.extend(names);
    }
    Some(operators.into_iter().collect::<Vec<_>>().join(" "))
}

/// The registrable domain of a host name.
fn operator(name: &str) -> Option<String> {
    let name = name.trim_start_matches("*.");
    psl::domain_str(name).map(str::to_owned)
}

/// Where replies name a client address.
#[derive(Default)]
struct Sighting<'t> {
    addresses: BTreeSet<Addr>,
    replies: Vec<&'t Trial>,
}

/// Row 7: the other side sees another address than the one we speak from.
pub(super) fn egress_mismatch(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let theirs: BTreeSet<IpAddr> = left.iter().filter_map(|t| t.address).map(|a| case.ip(a)).collect();
    let mut all: BTreeMap<Addr, BTreeSet<Addr>> = BTreeMap::new();
    let mut seen: BTreeMap<(Addr, IpAddr), Sighting<'_>> = BTreeMap::new();
    for &t in left {
        let (Some(source), Some(address)) = (t.source, t.address) else { continue };
        all.entry(source).or_default().insert(address);
        let Some(words) = t.said.and_then(|s| case.names().words(s)) else { continue };
        let bound = [Some(source), t.seen_as].into_iter().flatten().map(|a| case.ip(a)).collect::<Vec<_>>();
        if words.named.iter().any(|ip| bound.contains(ip)) {
            continue;
        }
        for &ip in words.named.iter().filter(|ip| !theirs.contains(ip) && !ip.is_loopback() && !ip.is_unspecified()) {
            let entry = seen.entry((source, ip)).or_default();
            entry.addresses.insert(address);
            entry.replies.push(t);
        }
    }
    seen.retain(|(source, _), Sighting { addresses, .. }| {
        addresses.len() >= 2 || all.get(source).is_some_and(|all| all.len() == 1 && all == addresses)
    });
    if seen.is_empty() {
        return found;
    }
    let mut d = diagnosis(DiagnosisKind::EgressMismatch, Confidence::Certain);
    d.sources = case.ips(seen.keys().map(|(source, _)| *source));
    let failures: Vec<&Trial> = seen.values().flat_map(|s| s.replies.iter().copied()).collect();
    d.failed = failures.iter().map(|t| t.weight).sum();
    d.tried = left.iter().filter(|t| seen.keys().any(|(s, _)| t.source == Some(*s))).map(|t| t.weight).sum();
    if let Some((sign, _)) = sentences::main_sign(case, &failures) {
        (d.stage, d.code) = (sign.stage, sign.code);
    }
    for ((source, ip), Sighting { addresses, replies }) in &seen {
        d.because.push(format!(
            "bound to {}, but replies of {} name {ip} as the client",
            case.ip(*source),
            sentences::plural(addresses.len() as u64, "address"),
        ));
        d.because.extend(sentences::words(case, replies).into_iter().take(1));
        found.seen_as.push((*source, *ip));
    }
    d.windows = windows(failures.iter().copied());
    d.advice = "mail leaves with another address than the one it is bound to: mend the translation or the route, or \
                tell it with --public; reputation belongs to the address that is seen"
        .into();
    found.diagnoses.push(d);
    found
}
