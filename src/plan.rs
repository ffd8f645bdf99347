//! From a probe and what DNS says to every session that will be opened, in order: the plan is all
//! the work, it can be printed, and the same seed makes the same plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::address::{EhloName, Host, Mailbox, Sender};
use crate::dane::Dane;
use crate::probe::{Envelope, Family, Probe};
use crate::record::{self, Kind, Role, Variant};
use crate::smtp::fault::Fault;
use crate::smtp::session::{Script, TlsLevel};
use crate::stage::Stage;

mod message;
mod one;
mod route;
mod sample;
mod smoke;
mod turn;

pub use one::one;
pub use route::{Exchanger, Route, Source};
pub use sample::{Sample, sample};
pub use smoke::smoke;
pub use turn::{turn, turns};

/// One session to open: a cell of the matrix, and the how-manieth attempt at it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub probe: Arc<Probe>,
    /// Counts a run's sessions from 1.
    pub seq: u64,
    /// Counts a cell's attempts from 1.
    pub number: u32,
    pub role: Role,
    pub variant: Variant,
    pub domain: Option<Host>,
    pub mx: Option<String>,
    pub preference: Option<u16>,
    /// None when the exchanger did not resolve.
    pub address: Option<SocketAddr>,
    /// Whose rates and budgets it takes from: the registrable domain of the exchanger.
    pub provider: Arc<str>,
    /// None when the exchanger did not resolve.
    pub source: Option<Source>,
    pub from: Sender,
    pub to: Option<Mailbox>,
    pub until: Stage,
    pub tls: TlsLevel,
    /// What DANE asks of it; None where it was not looked up.
    pub dane: Option<Arc<Dane>>,
    /// Not before that much of the run has passed.
    pub not_before: Duration,
    /// Why it cannot be opened at all.
    pub fault: Option<Fault>,
    pub notes: Vec<String>,
    /// Where a control session goes when the address before cannot be reached.
    pub alternatives: Vec<Attempt>,
}

impl Attempt {
    /// What the session is to say; `None` when there is nowhere to say it.
    ///
    /// The run and the session's number make the message's id, `at` its date.
    #[must_use]
    pub fn script(&self, run: &str, at: Timestamp) -> Option<Script> {
        let source = self.source.as_ref()?;
        Some(Script {
            ehlo: source.ehlo.clone(),
            tls: self.level(),
            from: self.from.clone(),
            to: self.to.clone(),
            message: self.message(source, run, at),
            until: self.until,
            timeouts: Arc::clone(&self.probe.timeouts),
        })
    }

    /// How the session uses TLS: DANE's word is the host's (RFC 7672, section 2.2).
    fn level(&self) -> TlsLevel {
        match (self.tls, self.dane.as_deref()) {
            (TlsLevel::Dane, None | Some(Dane::Absent(_))) => TlsLevel::Opportunistic,
            (TlsLevel::Dane, Some(Dane::AnyCertificate(_))) => TlsLevel::Require,
            (level, _) => level,
        }
    }

    /// The same cell once more, without STARTTLS: the pair of a session whose handshake failed.
    #[must_use]
    pub fn plaintext_pair(&self, seq: u64) -> Self {
        Self { seq, variant: Variant::Plaintext, tls: TlsLevel::Off, ..self.clone() }
    }

    /// The record's fields up to `until`; the rest as of a session that was never started.
    #[must_use]
    pub fn record(&self, run: &str, at: Timestamp) -> record::Session {
        record::Session {
            run: run.to_owned(),
            seq: self.seq,
            attempt: self.number,
            at: record::stamp(at),
            role: self.role,
            domain: self.domain.as_ref().map(Host::to_string),
            mx: self.mx.clone(),
            preference: self.preference,
            address: self.address.map(|address| address.ip()),
            port: self.address.map_or(self.probe.target.port, |address| address.port()),
            backend: None,
            banner: None,
            variant: self.variant,
            source: self.source.as_ref().map(|source| source.address),
            seen_as: self.source.as_ref().map(|source| source.seen_as),
            ehlo: self.source.as_ref().map(|source| source.ehlo.to_string()),
            from: self.source.as_ref().map(|_| self.from.to_string()),
            to: self.to.as_ref().map(Mailbox::to_string),
            until: self.until,
            stage: None,
            kind: Kind::Skipped,
            code: None,
            enhanced: None,
            tag: None,
            class: None,
            text_class: None,
            reply: None,
            reply_base64: None,
            also: Vec::new(),
            notes: self.notes.clone(),
            detail: None,
            expected: false,
            tls: None,
            extensions: None,
            steps: Vec::new(),
            total_ms: None,
        }
    }
}

/// All the work of a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order of their starts.
    pub attempts: Vec<Arc<Attempt>>,
    /// What was asked for and will not be probed, in words.
    pub left_out: Vec<String>,
}

impl Plan {
    /// How many sessions will be opened, those that cannot be left aside.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.fault.is_none()).count()
    }

    /// When each session will start at the earliest, counted from the run's begin, under the rate
    /// and the pace alone: sessions that last longer push the later ones back.
    #[must_use]
    pub fn starts(&self) -> Vec<Duration> {
        let mut by_provider: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        self.attempts
            .iter()
            .map(|attempt| {
                let limits = &attempt.probe.limits;
                let earlier = by_provider.entry(&attempt.provider).or_default();
                let paced = limits.pace * (attempt.number - 1);
                let window = earlier.len().checked_sub(limits.rate.starts as usize);
                let rated = window.map_or(Duration::ZERO, |at| earlier[at] + limits.rate.per);
                let start = paced.max(rated).max(attempt.not_before);
                if attempt.fault.is_none() {
                    earlier.insert(earlier.partition_point(|before| *before <= start), start);
                }
                start
            })
            .collect()
    }
}

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
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let attempts = probe.limits.attempts.max(1);
    for number in 1..=attempts {
        cells = dealt(cells, &mut rng);
        let again = cells.iter().filter(|cell| number == 1 || (cell.fault.is_none() && cell.role != Role::Control));
        plan.attempts.extend(again.map(|cell| Arc::new(Attempt { number, ..cell.clone() })));
    }
    for (attempt, seq) in plan.attempts.iter_mut().zip(first..) {
        if let Some(attempt) = Arc::get_mut(attempt) {
            attempt.seq = seq;
        }
    }
    plan
}

/// Shuffles the cells, then deals them in rounds of one per address. Of cells in an order that is
/// all chance the last few are at a few addresses, and a run ends waiting for those.
fn dealt(mut cells: Vec<Attempt>, rng: &mut ChaCha8Rng) -> Vec<Attempt> {
    cells.shuffle(rng);
    let mut dealt_to: BTreeMap<Option<SocketAddr>, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<Attempt>> = Vec::new();
    for cell in cells {
        let round = dealt_to.entry(cell.address).or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(cell);
        *round += 1;
    }
    rounds.into_iter().flatten().collect()
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
fn matrix(probe: &Arc<Probe>, route: &Route, sources: &[Source], family: Family) -> (Vec<Attempt>, Vec<String>) {
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
                    cell(probe, route, exchanger, address, source, Cell { role, to, until: probe.until })
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
fn control(probe: &Arc<Probe>, route: &Route, source: &Source) -> Option<Attempt> {
    let mut reachable = route.exchangers.iter().flat_map(|exchanger| {
        let fitting = exchanger.addresses.iter().filter(|a| a.is_ipv4() == source.address.is_ipv4());
        fitting.map(move |&address| (exchanger, address))
    });
    let to = |(exchanger, address)| {
        let cell_of = Cell { role: Role::Control, to: None, until: Stage::Ehlo };
        cell(probe, route, exchanger, address, source, cell_of)
    };
    let mut attempt = reachable.next().map(to)?;
    attempt.alternatives = reachable.take(3).map(to).collect();
    Some(attempt)
}

/// What tells one cell of a route from another beside source and address.
struct Cell {
    role: Role,
    to: Option<Mailbox>,
    until: Stage,
}

fn cell(
    probe: &Arc<Probe>,
    route: &Route,
    exchanger: &Exchanger,
    address: IpAddr,
    source: &Source,
    Cell { role, to, until }: Cell,
) -> Attempt {
    let notes = route.notes.iter().chain(&exchanger.notes).cloned();
    Attempt {
        probe: Arc::clone(probe),
        seq: 0,
        number: 1,
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
        not_before: Duration::ZERO,
        fault: None,
        notes: notes.collect(),
        alternatives: Vec::new(),
    }
}

/// A record for a domain that has no mail, and for every exchanger that has no address.
fn unresolved(probe: &Arc<Probe>, route: &Route) -> Vec<Attempt> {
    let attempt = |name: Option<&String>, preference, fault: &Fault, notes: &[String]| Attempt {
        probe: Arc::clone(probe),
        seq: 0,
        number: 1,
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
        not_before: Duration::ZERO,
        fault: Some(fault.clone()),
        notes: route.notes.iter().chain(notes).cloned().collect(),
        alternatives: Vec::new(),
    };
    let domain = route.fault.iter().map(|fault| attempt(None, None, fault, &[]));
    let exchangers = route.exchangers.iter().filter_map(|exchanger| {
        let Exchanger { name, preference, fault, notes, .. } = exchanger;
        fault.as_ref().map(|fault| attempt(name.as_ref(), *preference, fault, notes))
    });
    domain.chain(exchangers).collect()
}

/// Who writes from this source.
#[must_use]
pub fn sender(probe: &Probe, source: &Source) -> Sender {
    probe.envelope.from.clone().unwrap_or_else(|| default_sender(&source.ehlo))
}

/// `mxprobe@` and the EHLO name; the null sender where that is an address.
fn default_sender(ehlo: &EhloName) -> Sender {
    match ehlo {
        EhloName::Name(host) => format!("mxprobe@{host}").parse().unwrap_or(Sender::Null),
        EhloName::Literal(_) => Sender::Null,
    }
}
