//! One domain's evidence: its trials, what is no trial, and how its sources fared elsewhere.
//!
//! Apart from [`Evidence`] because evidence is as it was read, while a case is in the order of
//! time, without repetitions, and about one domain.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::evidence::Evidence;
use super::names::{Addr, Name, Names, Said};
use super::trial::Trial;
use crate::catalog::{Catalog, Rule, Words};
use crate::record::{Check, CheckName, CheckResult, Kind, Lookup, LookupError, Role, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// All evidence in order, but for the sessions at the targets.
pub(crate) struct Ground {
    pub(crate) names: Names,
    /// Sessions at controls.
    pub(crate) controls: Vec<Trial>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) checks: Vec<Check>,
    /// How each source fared at each address.
    fared: BTreeMap<(Addr, Addr), Control>,
}

impl Ground {
    /// The evidence in the order of time and content, and the sessions at each target.
    pub(crate) fn new(evidence: &Evidence) -> (Self, BTreeMap<Option<Name>, Vec<Trial>>) {
        let (names, mut trials, meant) = evidence.in_order();
        trials.sort_unstable();
        trials.dedup();
        adopt(&mut trials);
        let mut fared: BTreeMap<_, Control> = BTreeMap::new();
        let elsewhere = |t: &&Trial| t.role == Role::Control || t.variant == Variant::Plain;
        for t in trials.iter().filter(elsewhere).filter(|t| says_something(t)) {
            if let (Some(source), Some(address)) = (t.source, t.address) {
                fared.entry((source, address)).or_default().count(t);
            }
        }
        let controls = trials.iter().filter(|t| t.role == Role::Control).copied().collect();
        trials.retain(|t| t.role != Role::Control);
        let mut lookups = evidence.lookups.clone();
        lookups.sort_by(|a, b| lookup_key(a).cmp(&lookup_key(b)));
        // A file that is read twice asks nothing twice.
        lookups.dedup_by(|a, b| lookup_key(a) == lookup_key(b));
        let mut checks = evidence.checks.clone();
        checks.sort_by(|a, b| check_key(a).cmp(&check_key(b)));
        let meant: BTreeSet<Name> = meant.into_iter().collect();
        let ground = Self { names, controls, lookups, checks, fared };
        let targets = ground.targets(trials, &meant);
        (ground, targets)
    }

    /// The sessions by target, `meant` or not; without any, the domains that were looked up.
    fn targets(&self, trials: Vec<Trial>, meant: &BTreeSet<Name>) -> BTreeMap<Option<Name>, Vec<Trial>> {
        let mut targets: BTreeMap<Option<Name>, Vec<Trial>> = BTreeMap::new();
        match trials.first().map(|t| t.domain) {
            Some(only) if trials.iter().all(|t| t.domain == only) => {
                targets.insert(only, trials);
            }
            _ => {
                for t in trials {
                    targets.entry(t.domain).or_default().push(t);
                }
            }
        }
        let asked = |l: &&Lookup| l.rtype.eq_ignore_ascii_case("MX") && !self.is_control(&host(&l.name));
        let domains: BTreeSet<Name> =
            self.lookups.iter().filter(asked).filter_map(|l| self.names.find(&host(&l.name))).collect();
        targets.extend(
            domains
                .intersection(meant)
                .map(|d| (Some(*d), Vec::new()))
                .filter(|(d, _)| !targets.contains_key(d))
                .collect::<Vec<_>>(),
        );
        if targets.is_empty() {
            // Of what was looked up, the domains that did not resolve explain that there is no session.
            let resolved: BTreeSet<_> =
                self.lookups.iter().filter(|l| !l.answers.is_empty()).map(|l| host(&l.name)).collect();
            let unresolved = domains.iter().filter(|d| !resolved.contains(self.names.text(**d)));
            targets.extend(unresolved.map(|d| (Some(*d), Vec::new())));
        }
        if targets.is_empty() {
            targets.extend(domains.iter().map(|d| (Some(*d), Vec::new())));
        }
        if targets.is_empty() {
            targets.insert(None, Vec::new());
        }
        targets
    }

    fn is_control(&self, name: &str) -> bool {
        self.names.find(name).is_some_and(|n| self.controls.iter().any(|t| t.domain == Some(n)))
    }
}

/// Whether a session says anything about the other side.
fn says_something(t: &Trial) -> bool {
    t.kind.is_trial() && !t.expected && t.source.is_some() && t.address.is_some()
}

/// Gives counted deliveries without a domain to the domain that their exchanger or address belongs
/// to, if it is one, or to the only domain there is.
fn adopt(trials: &mut [Trial]) {
    let homeless = |t: &Trial| t.domain.is_none() && t.counted();
    if !trials.iter().any(homeless) {
        return;
    }
    let mut of_mx: BTreeMap<Name, BTreeSet<Option<Name>>> = BTreeMap::new();
    let mut of_address: BTreeMap<Addr, BTreeSet<Option<Name>>> = BTreeMap::new();
    let mut domains = BTreeSet::new();
    for t in trials.iter().filter(|t| t.role != Role::Control && !homeless(t)) {
        domains.insert(t.domain);
        t.mx.map(|mx| of_mx.entry(mx).or_default().insert(t.domain));
        t.address.map(|a| of_address.entry(a).or_default().insert(t.domain));
    }
    let only = |set: &BTreeSet<Option<Name>>| if set.len() == 1 { set.first().copied() } else { None };
    for t in trials.iter_mut().filter(|t| homeless(t)) {
        let by_mx = t.mx.and_then(|mx| of_mx.get(&mx)).and_then(only);
        let by_address = t.address.and_then(|a| of_address.get(&a)).and_then(only);
        if let Some(domain) = by_mx.or(by_address).or_else(|| only(&domains)) {
            t.domain = domain;
        }
    }
}

fn lookup_key(l: &Lookup) -> (i64, &str, &str, &str, &[String], Option<LookupError>) {
    (l.at.as_millisecond(), &l.name, &l.rtype, &l.resolver, &l.answers, l.error)
}

fn check_key(c: &Check) -> (Option<IpAddr>, CheckName, CheckResult, Option<&str>) {
    (c.source, c.check, c.result, c.detail.as_deref())
}

/// A host name as lookups and sessions both spell it.
pub(crate) fn host(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// How a source fared away from the target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Control {
    pub(crate) tried: u64,
    /// Failed at `connect`.
    pub(crate) unconnected: u64,
    /// Went all the way.
    pub(crate) passed: u64,
}

impl Control {
    fn count(&mut self, t: &Trial) {
        self.add(Self {
            tried: t.weight,
            unconnected: if t.failed() && t.stage <= Some(Stage::Connect) { t.weight } else { 0 },
            passed: if t.failed() { 0 } else { t.weight },
        });
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.unconnected += other.unconnected;
        self.passed += other.passed;
    }
}

/// How a session ended, as far as two of them can be the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Sign {
    pub(crate) stage: Option<Stage>,
    pub(crate) kind: Kind,
    pub(crate) code: Option<Code>,
    pub(crate) enhanced: Option<Enhanced>,
    pub(crate) tag: Option<Name>,
    pub(crate) same: Option<u32>,
}

/// The words of a reply that the catalogue can know.
type Wording = (Option<Code>, Option<Enhanced>, Option<Name>, Said);

/// What is known of one domain besides its trials.
pub(crate) struct Case<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) catalog: &'a Catalog,
    pub(crate) domain: Option<Name>,
    /// Sessions at the target that say nothing about it: `local`, `skipped`, expected, never resolved.
    pub(crate) aside: Vec<Trial>,
    /// By source: its sessions at controls and at other targets.
    pub(crate) controls: BTreeMap<Addr, Control>,
    rules: RefCell<HashMap<Wording, Option<&'a Rule>>>,
}

impl<'a> Case<'a> {
    /// The case, and its trials in order of time: own and neutral sessions at the target that say
    /// something about it.
    pub(crate) fn new(
        ground: &'a Ground,
        catalog: &'a Catalog,
        domain: Option<Name>,
        mut trials: Vec<Trial>,
    ) -> (Self, Vec<Trial>) {
        let aside = trials.iter().filter(|t| !says_something(t)).copied().collect();
        trials.retain(says_something);
        // Where nobody else spoke, the neutral sources are the ones it is about.
        if trials.iter().all(|t| t.role == Role::Neutral) {
            for t in &mut trials {
                t.role = Role::Target;
            }
        }
        let own: BTreeSet<Addr> = trials.iter().filter_map(|t| t.address).collect();
        let mut controls: BTreeMap<Addr, Control> = BTreeMap::new();
        for (&(source, address), &fared) in &ground.fared {
            if !own.contains(&address) {
                controls.entry(source).or_default().add(fared);
            }
        }
        (Self { ground, catalog, domain, aside, controls, rules: RefCell::default() }, trials)
    }

    pub(crate) fn names(&self) -> &'a Names {
        &self.ground.names
    }

    /// What the domain is called in a sentence.
    pub(crate) fn title(&self) -> &'a str {
        self.domain.map_or("the target", |d| self.ground.names.text(d))
    }

    pub(crate) fn ip(&self, addr: Addr) -> IpAddr {
        self.ground.names.address(addr)
    }

    pub(crate) fn ips(&self, addrs: impl IntoIterator<Item = Addr>) -> Vec<IpAddr> {
        let mut ips: Vec<_> = addrs.into_iter().map(|a| self.ip(a)).collect();
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// The sources that are not neutral, among these trials.
    pub(crate) fn own(trials: &[&Trial]) -> BTreeSet<Addr> {
        trials.iter().filter(|t| t.role == Role::Target).filter_map(|t| t.source).collect()
    }

    pub(crate) fn sign(&self, t: &Trial) -> Sign {
        let same = t.said.map(|s| self.ground.names.same(s));
        Sign { stage: t.stage, kind: t.kind, code: t.code, enhanced: t.enhanced, tag: t.tag, same }
    }

    /// The reply that ended a session, word for word, its lines joined by ` / `.
    pub(crate) fn reply(&self, t: &Trial) -> Option<&'a str> {
        Some(&*self.ground.names.words(t.said?)?.sample)
    }

    /// What the catalogue says of a reply's words.
    pub(crate) fn rule(&self, t: &Trial) -> Option<&'a Rule> {
        let said = t.said?;
        let tag = t.tag.map(|tag| self.ground.names.text(tag));
        let text = &*self.ground.names.words(said)?.text;
        let words = Words { code: t.code, enhanced: t.enhanced, tag, text };
        let wording = (t.code, t.enhanced, t.tag, said);
        *self.rules.borrow_mut().entry(wording).or_insert_with(|| self.catalog.find(&words))
    }
}
