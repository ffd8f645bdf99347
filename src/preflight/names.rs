//! A source's names: on this host, in reverse DNS, in EHLO.

use std::io;

use crate::address::{EhloName, Host};
use crate::dns::Dns;
use crate::plan::Source;
use crate::record::{Check, CheckName, CheckResult, LookupError};
use crate::wire;

/// Names of one address that are looked at.
const MOST_NAMES: usize = 10;

/// `bound`: whether the address is on this host.
pub(super) fn bound(source: &Source) -> Check {
    let address = source.address;
    let fix = "configure the address on an interface of this host, or leave it out";
    if address.is_unspecified() {
        return Check::new(CheckName::Bound, CheckResult::Fail, "no route: the kernel has no address to speak from")
            .fix(fix);
    }
    match wire::bound(address) {
        Ok(()) => Check::new(CheckName::Bound, CheckResult::Pass, "on this host"),
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
            Check::new(CheckName::Bound, CheckResult::Fail, "not an address of this host").fix(fix)
        }
        Err(e) => Check::new(CheckName::Bound, CheckResult::Unknown, e.to_string()),
    }
}

/// `ptr` and `fcrdns`: the names of the address as it is seen from outside, and whether one of them
/// leads back.
pub(super) async fn reverse(dns: &Dns, source: &Source) -> Vec<Check> {
    let ip = source.seen_as;
    let names = match dns.ptr(ip).await {
        Ok(names) => names,
        Err(LookupError::Nxdomain | LookupError::Nodata) => {
            let fix = match &source.ehlo {
                EhloName::Name(name) => format!("have the owner of {ip} publish a PTR record that names {name}"),
                EhloName::Literal(_) => format!("have the owner of {ip} publish a PTR record that names this host"),
            };
            let fail = |check, why: String| Check::new(check, CheckResult::Fail, why).fix(fix.clone());
            return vec![
                fail(CheckName::Ptr, format!("{ip} has no PTR record")),
                fail(CheckName::Fcrdns, format!("{ip} has no name that could be confirmed")),
            ];
        }
        Err(error) => {
            let why = format!("{ip} PTR: {error}");
            return [CheckName::Ptr, CheckName::Fcrdns]
                .map(|check| Check::new(check, CheckResult::Unknown, why.clone()))
                .to_vec();
        }
    };
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).map(Host::as_str).collect();
    let shown = shown.join(", ");
    let mut open = None;
    for name in names.iter().take(MOST_NAMES) {
        match leads_to(dns, name, source).await {
            Ok(true) => {
                return vec![
                    Check::new(CheckName::Ptr, CheckResult::Pass, &shown),
                    Check::new(CheckName::Fcrdns, CheckResult::Pass, name.as_str()),
                ];
            }
            Ok(false) => {}
            Err(error) => open = Some(format!("{name}: {error}")),
        }
    }
    let confirmed = match open {
        Some(why) => Check::new(CheckName::Fcrdns, CheckResult::Unknown, why),
        None => Check::new(CheckName::Fcrdns, CheckResult::Fail, format!("{shown} does not resolve to {ip}"))
            .fix(format!("publish an address record of {} with {ip}", names[0])),
    };
    vec![Check::new(CheckName::Ptr, CheckResult::Pass, &shown), confirmed]
}

/// `ehlo-name`: whether the name given in EHLO is the source's.
pub(super) async fn ehlo(dns: &Dns, source: &Source) -> Vec<Check> {
    let check = |result, why: String| Check::new(CheckName::EhloName, result, why);
    let ip = source.seen_as;
    let name = match &source.ehlo {
        EhloName::Name(name) => name,
        EhloName::Literal(literal) => {
            let why = format!("{} is an address, which many receivers refuse", source.ehlo);
            let result = if *literal == ip { CheckResult::Warn } else { CheckResult::Fail };
            return vec![check(result, why).fix(format!("give {ip} a name, or name it with --ehlo"))];
        }
    };
    vec![match leads_to(dns, name, source).await {
        Ok(true) => check(CheckResult::Pass, name.to_string()),
        Ok(false) => check(CheckResult::Fail, format!("{name} does not resolve to {ip}"))
            .fix(format!("publish an address record of {name} with {ip}, or say EHLO with the name that {ip} has")),
        Err(error) => check(CheckResult::Unknown, format!("{name}: {error}")),
    }]
}

/// Whether one of a name's addresses is the source's.
async fn leads_to(dns: &Dns, name: &Host, source: &Source) -> Result<bool, LookupError> {
    match dns.ips(name, source.seen_as.is_ipv4()).await {
        Ok(ips) => Ok(ips.contains(&source.seen_as)),
        Err(LookupError::Nxdomain | LookupError::Nodata) => Ok(false),
        Err(error) => Err(error),
    }
}
