//! What a provider is like: the scenario that a file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Record, RecordType};
use toml::Spanned;

use super::certificate::Certificate;
use super::error::{ScenarioError, Wrong, line_of, one_line};
use super::file::{self, File};
use super::rule::{Balancer, Rule};
use super::values::{Attempts, List, Loopback, Text};
use super::zone::{self, DnsFault};
use crate::address::Host;
use crate::record::{Confidence, Diagnosis, DiagnosisKind};
use crate::smtp::dialog::{Act, Dialog, DialogError};
use crate::stage::Stage;

/// The behaviour of connections that no rule speaks of.
pub(super) const ACCEPT: &str = "accept";

/// A provider, described.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// One line for people.
    pub description: String,
    /// What chance comes from.
    pub seed: u64,
    /// How to look at it.
    pub probe: Suggestion,
    /// What is wrong with it, in rank order.
    pub truth: Vec<Truth>,
    pub(super) exchangers: BTreeMap<IpAddr, Exchanger>,
    pub(super) records: Vec<Record>,
    pub(super) faults: Vec<DnsFault>,
    pub(super) certificate: Certificate,
    pub(super) extensions: Arc<[String]>,
    pub(super) behaviours: BTreeMap<String, Arc<Dialog>>,
    pub(super) rules: Vec<Rule>,
}

/// How the scenario's author means it to be probed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suggestion {
    /// Every domain of the scenario, where the file names none.
    pub targets: Vec<Host>,
    pub sources: Vec<IpAddr>,
    pub neutral: Vec<IpAddr>,
    pub control: Vec<Host>,
    pub until: Stage,
}

/// One thing that is wrong, as the judge should name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Truth {
    pub kind: DiagnosisKind,
    pub confidence: Confidence,
    pub sources: BTreeSet<IpAddr>,
    pub addresses: BTreeSet<IpAddr>,
    pub backends: BTreeSet<String>,
}

/// What listens, or does not, at an address.
#[derive(Clone, Debug)]
pub(super) struct Exchanger {
    pub(super) host: Host,
    pub(super) listens: bool,
    pub(super) balancer: Option<Balancer>,
}

impl Scenario {
    /// Reads a scenario file; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// The first thing that is not as it should be.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        read(text).map_err(|(span, wanted)| ScenarioError::new(name, text, span, &wanted))
    }

    /// The text of the scenario "AOL, October 2012", which the demo plays.
    #[must_use]
    pub const fn aol_2012() -> &'static str {
        include_str!("../../scenarios/aol-2012.toml")
    }

    /// Whether the diagnoses are the scenario's truth: the same kinds about the same sources,
    /// addresses and backends, as sure, and in the same order.
    #[must_use]
    pub fn is_told_by(&self, diagnoses: &[Diagnosis]) -> bool {
        diagnoses.iter().map(Truth::from).eq(self.truth.iter().cloned())
    }
}

fn read(text: &str) -> Result<Scenario, Wrong> {
    let file: File = toml::from_str(text).map_err(|e| (e.span().unwrap_or(0..0), one_line(e.message())))?;
    let behaviours = behaviours(text, &file)?;
    Ok(Scenario {
        records: records(&file)?,
        faults: faults(&file)?,
        rules: rules(&file, &behaviours)?,
        exchangers: exchangers(&file)?,
        probe: suggestion(&file),
        description: file.description,
        seed: file.seed,
        truth: file.truth.into_iter().map(Truth::from).collect(),
        certificate: file.tls.certificate,
        extensions: file.extensions.map_or_else(extensions, |list| list.into_iter().map(|Text(e)| e.0).collect()),
        behaviours,
    })
}

fn suggestion(file: &File) -> Suggestion {
    let addresses = |list: &[Text<Loopback>]| list.iter().map(|Text(Loopback(address))| *address).collect();
    let hosts = |list: &[Text<Host>]| list.iter().map(|Text(host)| host.clone()).collect::<Vec<_>>();
    let mut targets = hosts(&file.probe.targets);
    if targets.is_empty() {
        targets = file.domains.keys().map(|Text(domain)| domain.clone()).collect();
    }
    Suggestion {
        targets,
        sources: addresses(&file.probe.sources),
        neutral: addresses(&file.probe.neutral),
        control: hosts(&file.probe.control),
        until: file.probe.until.unwrap_or(Stage::Mail),
    }
}

impl From<file::Truth> for Truth {
    fn from(truth: file::Truth) -> Self {
        Self {
            kind: truth.kind,
            confidence: truth.confidence,
            sources: truth.sources.into_iter().collect(),
            addresses: truth.addresses.into_iter().collect(),
            backends: truth.backends.into_iter().collect(),
        }
    }
}

impl From<&Diagnosis> for Truth {
    fn from(diagnosis: &Diagnosis) -> Self {
        Self {
            kind: diagnosis.kind,
            confidence: diagnosis.confidence,
            sources: diagnosis.sources.iter().copied().collect(),
            addresses: diagnosis.addresses.iter().copied().collect(),
            backends: diagnosis.backends.iter().cloned().collect(),
        }
    }
}

fn extensions() -> Arc<[String]> {
    ["PIPELINING", "SIZE 36700160", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8"].map(str::to_owned).into()
}

/// Every name with an address that an exchanger of the scenario has.
fn places(file: &File) -> impl Iterator<Item = (&Host, IpAddr)> {
    file.domains.iter().flat_map(|(Text(name), domain)| {
        let domain = domain.as_ref();
        let own = std::iter::once((name, &domain.addresses));
        let all = own.chain(domain.mx.iter().map(|mx| (&mx.host.0, &mx.addresses)));
        all.flat_map(|(host, List(list))| list.iter().map(move |&Loopback(address)| (host, address)))
    })
}

fn exchangers(file: &File) -> Result<BTreeMap<IpAddr, Exchanger>, Wrong> {
    let mut exchangers = BTreeMap::new();
    for (host, address) in places(file) {
        let exchanger = Exchanger { host: host.clone(), listens: true, balancer: None };
        exchangers.entry(address).or_insert(exchanger);
    }
    for closed in &file.closed {
        let Text(Loopback(address)) = closed.as_ref();
        match exchangers.get_mut(address) {
            Some(exchanger) => exchanger.listens = false,
            None => return Err((closed.span(), format!("{address} belongs to no exchanger of [domains]"))),
        }
    }
    for balancer in &file.balancer {
        let names: Vec<_> = balancer.backends.iter().map(|Text(name)| name.as_str().to_owned()).collect();
        for Loopback(address) in &balancer.address.0 {
            if let Some(exchanger) = exchangers.get_mut(address).filter(|_| !names.is_empty()) {
                exchanger.balancer = Some(Balancer { names: names.clone(), choose: balancer.choose });
            }
        }
    }
    Ok(exchangers)
}

fn records(file: &File) -> Result<Vec<Record>, Wrong> {
    let mut records = Vec::new();
    for (Text(domain), said) in &file.domains {
        let (span, said) = (said.span(), said.as_ref());
        if said.null_mx && !said.mx.is_empty() {
            return Err((span, format!("{domain} has a null MX and others: wanted one or the other (RFC 7505)")));
        }
        if said.null_mx {
            records.push(zone::null_mx(domain, file.ttl));
        }
        records.extend(said.mx.iter().map(|mx| zone::mx(domain, mx.preference, &mx.host.0, file.ttl)));
    }
    let listed = file.hosts.iter().flat_map(|(Text(host), List(list))| list.iter().map(move |&ip| (host, ip)));
    records.extend(places(file).chain(listed).map(|(host, address)| zone::address(host, address, file.ttl)));
    for (Text(address), List(hosts)) in &file.ptr {
        records.extend(hosts.iter().map(|host| zone::ptr(*address, host, file.ttl)));
    }
    let named: BTreeSet<_> = file.ptr.keys().map(|Text(address)| *address).collect();
    records.extend(
        places(file).filter(|(_, ip)| !named.contains(ip)).map(|(host, address)| zone::ptr(address, host, file.ttl)),
    );
    for record in &file.record {
        let List(values) = record.value.as_ref();
        let data = zone::data(rtype(&record.rtype)?, values).map_err(|wanted| (record.value.span(), wanted))?;
        records.push(zone::record(&record.name.0, record.ttl.unwrap_or(file.ttl), data));
    }
    Ok(records)
}

fn faults(file: &File) -> Result<Vec<DnsFault>, Wrong> {
    let fault = |fault: &file::DnsFault| {
        let rtype = fault.rtype.as_ref().map(rtype).transpose()?;
        Ok(DnsFault { name: zone::name(&fault.name.0), rtype, answer: fault.answer })
    };
    file.dns_fault.iter().map(fault).collect()
}

fn rtype(written: &Spanned<String>) -> Result<RecordType, Wrong> {
    let found = written.as_ref();
    found.parse().map_err(|_| (written.span(), format!("{found:?} is no record type: wanted A, MX, TXT, …")))
}

fn behaviours(text: &str, file: &File) -> Result<BTreeMap<String, Arc<Dialog>>, Wrong> {
    let mut behaviours = BTreeMap::from([(ACCEPT.to_owned(), Arc::new(Dialog::default()))]);
    for (name, behaviour) in &file.behaviour {
        let span = behaviour.dialog.span();
        if name == ACCEPT {
            return Err((span, format!("{ACCEPT:?} is built in: wanted another name")));
        }
        let dialog: Dialog = behaviour.dialog.as_ref().parse().map_err(|e: DialogError| {
            let found = e.to_string();
            let reason = found.split_once(": ").map_or(&*found, |(_, reason)| reason);
            (line_of(text, &span, e.line), format!("not in the dialog notation: {reason}"))
        })?;
        behaviours.insert(name.clone(), Arc::new(dialog));
    }
    Ok(behaviours)
}

fn rules(file: &File, behaviours: &BTreeMap<String, Arc<Dialog>>) -> Result<Vec<Rule>, Wrong> {
    let rule = |rule: &file::Rule| {
        let behaviour = rule.behaviour.as_ref();
        if !behaviours.contains_key(behaviour) {
            let known: Vec<_> = behaviours.keys().map(String::as_str).collect();
            let wanted = format!("there is no behaviour {behaviour:?}: wanted one of {}", known.join(", "));
            return Err((rule.behaviour.span(), wanted));
        }
        Ok(Rule {
            addresses: rule.address.0.clone(),
            sources: rule.source.0.clone(),
            hosts: rule.mx.0.clone(),
            backends: rule.backend.0.iter().map(|host| host.as_str().to_owned()).collect(),
            attempts: rule.attempts.as_ref().map(|&Text(attempts)| -> Attempts { attempts }),
            count: rule.count,
            chance: rule.chance.map(|chance| chance.0),
            from: rule.from.as_ref().map_or(Duration::ZERO, |from| from.0.0),
            until: rule.until.as_ref().map(|until| until.0.0),
            behaviour: behaviour.clone(),
        })
    };
    file.rule.iter().map(rule).collect()
}

impl Scenario {
    /// Whether any connection can come to a handshake.
    pub(super) fn speaks_tls(&self) -> bool {
        let shakes = |dialog: &Arc<Dialog>| dialog.lines.iter().any(|line| line.act == Act::Tls);
        self.certificate != Certificate::None || self.behaviours.values().any(shakes)
    }
}
