//! The questions that only the world can answer: where the target's mail goes, which addresses we
//! have, and what they are called.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::RunError;
use crate::address::{EhloName, Host};
use crate::dane::Dane;
use crate::dns::{self, Dns};
use crate::drive::turned;
use crate::plan::{Exchanger, Route, Source};
use crate::probe::{HostSpec, Probe};
use crate::record::Role;
use crate::smtp::fault::{Fault, LookupError};
use crate::smtp::session::TlsLevel;
use crate::source;
use crate::wire;

/// What one probe comes to.
pub(super) struct Resolved {
    pub(super) routes: Vec<Route>,
    pub(super) sources: Vec<Source>,
}

/// Looks everything up, all probes at once, unless the operator stops the run first; TLSA records
/// where sessions go by them, or if they are wanted in any case.
pub(super) async fn resolve(
    probes: &[Arc<Probe>],
    dns: &Dns,
    dane: bool,
    cancel: &watch::Receiver<bool>,
) -> Result<Vec<Resolved>, RunError> {
    let mut tasks = Vec::new();
    for probe in probes {
        let (probe, dns, mut cancel) = (Arc::clone(probe), dns.clone(), cancel.clone());
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = turned(&mut cancel) => Ok(stopped(&probe)),
                found = one(&probe, &dns, dane) => found,
            }
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.map_err(|e| RunError::Ours(format!("a lookup broke off: {e}")))??);
    }
    let mut cancel = cancel.clone();
    tokio::select! {
        biased;
        () = turned(&mut cancel) => {}
        () = dns.ask_for_a_sign_of_life() => {}
    }
    Ok(all)
}

/// What a probe comes to whose lookups were stopped: one record for each name.
fn stopped(probe: &Probe) -> Resolved {
    let route = |role, domain: Option<&Host>| Route {
        role,
        domain: domain.cloned(),
        fault: Some(Fault::Cancelled),
        notes: Vec::new(),
        exchangers: Vec::new(),
    };
    let target = route(Role::Target, probe.target.domain.as_ref());
    let controls = probe.target.control.iter().map(|domain| route(Role::Control, Some(domain)));
    Resolved { routes: std::iter::once(target).chain(controls).collect(), sources: Vec::new() }
}

/// Where the mail goes and what our addresses are called do not depend on each other, unless the
/// kernel is to choose the addresses: so both are asked for at once.
async fn one(probe: &Probe, dns: &Dns, dane: bool) -> Result<Resolved, RunError> {
    let given = given(probe)?;
    let named = async {
        match given {
            Some(given) => Some(sources(probe, given, dns).await),
            None => None,
        }
    };
    let (routes, named) = tokio::join!(routes(probe, dns, dane), named);
    let sources = match named {
        Some(sources) => sources,
        None => sources(probe, kernels_choice(probe, &routes), dns).await,
    };
    Ok(Resolved { routes, sources })
}

/// The target's route, then those of the controls.
async fn routes(probe: &Probe, dns: &Dns, dane: bool) -> Vec<Route> {
    let target = async {
        let mut route = match &probe.target.domain {
            Some(domain) if probe.target.hosts.is_empty() => route(Role::Target, domain, dns).await,
            domain => hosts(domain.clone(), &probe.target.hosts, dns).await,
        };
        if dane || probe.tls == TlsLevel::Dane {
            look_up_tlsa(&mut route, probe, dns).await;
        }
        route
    };
    let controls =
        async { join_all(probe.target.control.iter().map(|domain| route(Role::Control, domain, dns))).await };
    let (target, controls) = tokio::join!(target, controls);
    std::iter::once(target).chain(controls).collect()
}

/// Where a domain's mail goes.
async fn route(role: Role, domain: &Host, dns: &Dns) -> Route {
    let plain = Route { role, domain: Some(domain.clone()), fault: None, notes: Vec::new(), exchangers: Vec::new() };
    let failed = |fault, note: Option<&str>| Route {
        fault: Some(Fault::Dns(fault)),
        notes: note.map(str::to_owned).into_iter().collect(),
        ..plain.clone()
    };
    match dns.route(domain).await {
        dns::Route::Exchangers(mut exchangers) => {
            // A provider that is wholly on this host is a test's, and means to be there.
            if exchangers.iter().flat_map(|e| e.addresses.iter().flatten()).all(IpAddr::is_loopback) {
                for exchanger in &mut exchangers {
                    exchanger.notes.retain(|note| *note != dns::Note::Private);
                }
            }
            Route { exchangers: exchangers.into_iter().map(exchanger).collect(), ..plain }
        }
        dns::Route::NullMx => failed(LookupError::Nodata, Some("null-mx")),
        dns::Route::NoSuchDomain => failed(LookupError::Nxdomain, None),
        dns::Route::NoMail => failed(LookupError::Nodata, Some("no-mx-no-address")),
        dns::Route::Failed(error) => failed(error, None),
    }
}

fn exchanger(found: dns::Exchanger) -> Exchanger {
    let notes = found.notes.iter().map(|note| note.as_str().to_owned()).collect();
    let (addresses, fault) = match found.addresses {
        Ok(addresses) => (addresses, None),
        Err(error) => (Vec::new(), Some(Fault::Dns(error))),
    };
    let name = Some(found.name.to_string());
    Exchanger { name, preference: found.preference, addresses, fault, notes, dane: None }
}

/// What DANE asks of sessions with each exchanger. One of which that cannot be told is none to send
/// to, where DANE is gone by (RFC 7672, section 2.1.2).
async fn look_up_tlsa(route: &mut Route, probe: &Probe, dns: &Dns) {
    let by_mx = route.domain.as_ref().filter(|_| route.exchangers.iter().any(|e| e.preference.is_some()));
    let (mut named, mut hosts): (Vec<&mut Exchanger>, Vec<Host>) = (Vec::new(), Vec::new());
    for exchanger in route.exchangers.iter_mut().filter(|exchanger| !exchanger.addresses.is_empty()) {
        match exchanger.name.as_deref().and_then(|name| name.parse().ok()) {
            Some(host) => {
                hosts.push(host);
                named.push(exchanger);
            }
            None => exchanger.dane = Some(Arc::new(Dane::Absent("an address has no TLSA records".to_owned()))),
        }
    }
    if hosts.is_empty() {
        return;
    }
    let found = dns.dane(by_mx, &hosts, probe.target.port).await;
    for (exchanger, dane) in named.into_iter().zip(found) {
        if let (Dane::Unknown(error, what), TlsLevel::Dane) = (&dane, probe.tls) {
            exchanger.fault = Some(Fault::NoDane(*error, what.clone()));
            exchanger.addresses.clear();
        }
        exchanger.dane = Some(Arc::new(dane));
    }
}

/// The hosts given in place of an MX set.
async fn hosts(domain: Option<Host>, hosts: &[HostSpec], dns: &Dns) -> Route {
    let mut exchangers = Vec::new();
    for host in hosts {
        exchangers.push(match host {
            HostSpec::Address(address) => {
                let addresses = vec![*address];
                Exchanger { name: None, preference: None, addresses, fault: None, notes: Vec::new(), dane: None }
            }
            HostSpec::Name(name) => {
                let dns::Resolved { addresses, notes } = dns.addresses(name).await;
                exchanger(dns::Exchanger {
                    name: dns::ExchangerName::Host(name.clone()),
                    preference: None,
                    addresses,
                    notes,
                })
            }
        });
    }
    Route { role: Role::Target, domain, fault: None, notes: Vec::new(), exchangers }
}

/// The addresses that the operator wants to probe from; `None` leaves them to the kernel.
fn given(probe: &Probe) -> Result<Option<Vec<IpAddr>>, RunError> {
    let interfaces = wire::interfaces().map_err(|e| RunError::Ours(format!("this host's interfaces: {e}")))?;
    let own = source::expand(&probe.source.addresses, &interfaces).map_err(|e| RunError::Config(e.to_string()))?;
    Ok(Some(own).filter(|own| !own.is_empty() || !probe.source.addresses.is_empty()))
}

/// These addresses and the neutral ones, each with its EHLO name.
async fn sources(probe: &Probe, own: Vec<IpAddr>, dns: &Dns) -> Vec<Source> {
    let neutral = probe.source.neutral.iter().filter(|ip| !own.contains(ip));
    let all: Vec<_> = own.iter().map(|ip| (*ip, false)).chain(neutral.map(|ip| (*ip, true))).collect();
    let names = all.iter().map(|(address, _)| name_of(probe, *address, dns));
    let names = join_all(names).await;
    let sources = all.into_iter().zip(names).map(|((address, neutral), ehlo)| Source {
        address,
        seen_as: probe.source.public.get(&address).copied().unwrap_or(address),
        ehlo,
        neutral,
    });
    sources.collect()
}

/// The address that the kernel would speak from, one per family: asked for with a UDP socket that
/// is connected and never written to.
fn kernels_choice(probe: &Probe, routes: &[Route]) -> Vec<IpAddr> {
    let mut choices = Vec::new();
    for v4 in [true, false] {
        let mut addresses = routes.iter().flat_map(|route| route.exchangers.iter().flat_map(|e| &e.addresses));
        let Some(to) = addresses.find(|a| a.is_ipv4() == v4 && probe.target.family.allows(**a)) else { continue };
        let any: SocketAddr = if v4 { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
        let local = UdpSocket::bind(any).and_then(|socket| {
            socket.connect((*to, probe.target.port))?;
            socket.local_addr()
        });
        // Without a route the unspecified address stands for "whatever the kernel has": the
        // connection will say what is missing.
        choices.push(local.map_or(any.ip(), |local| local.ip()));
    }
    choices
}

/// The name to say EHLO with: as configured, else the source's PTR name, else this host's.
async fn name_of(probe: &Probe, source: IpAddr, dns: &Dns) -> EhloName {
    let configured = probe.source.ehlo_of.get(&source).or(probe.source.ehlo.as_ref());
    if let Some(name) = configured {
        return name.clone();
    }
    let seen_as = probe.source.public.get(&source).copied().unwrap_or(source);
    let ptr = dns.ptr(seen_as).await.ok().and_then(|names| names.into_iter().next());
    match ptr.or_else(host_name) {
        Some(host) => EhloName::Name(host),
        None => EhloName::Literal(seen_as),
    }
}

/// This host's own name, where it is a full one: servers refuse others (RFC 5321, section 2.3.5),
/// and it would be read as their refusal.
fn host_name() -> Option<Host> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    name.trim().parse().ok().filter(|name: &Host| name.as_str().contains('.'))
}
