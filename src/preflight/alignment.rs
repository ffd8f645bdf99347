//! `dmarc`: the policy of the domain that a reader sees, and whether SPF or DKIM speak for it
//! (RFC 7489).

use std::collections::BTreeMap;

use futures_util::future::join_all;
use mail_parser::MessageParser;

use super::Room;
use super::key::Signing;
use crate::address::{Host, Mailbox, Sender};
use crate::auth::{Policy, Spf, SpfResult, Wish};
use crate::plan::{Source, sender};
use crate::record::{Check, CheckName, CheckResult, LookupError};

/// What was found of the policies, by the domain in From.
pub(super) type Policies = BTreeMap<Host, Found>;

/// A domain's policy.
pub(super) enum Found {
    /// The record and where it is.
    Policy(Policy, Host),
    /// Why there is none that counts, and what to do.
    Bad(String, String),
    /// Why it is not known.
    Unknown(String),
}

/// Looks up the policies of every domain that stands in From.
pub(super) async fn policy(room: &Room) -> Policies {
    let mut domains: Vec<Host> =
        room.sources.iter().filter(|s| !s.neutral).filter_map(|source| from_domain(room, source)).collect();
    domains.sort();
    domains.dedup();
    let found = domains.into_iter().map(|domain| async move {
        let found = look(room, &domain).await;
        (domain, found)
    });
    join_all(found).await.into_iter().collect()
}

/// The record of the domain itself, else that of its organisation (section 6.6.3).
async fn look(room: &Room, domain: &Host) -> Found {
    let organisation = organisation(domain);
    let mut at = vec![domain];
    if organisation != *domain {
        at.push(&organisation);
    }
    for host in at {
        let Ok(name) = format!("_dmarc.{host}").parse::<Host>() else { continue };
        let records = match room.dns.txt(&name).await {
            Ok(records) => records,
            Err(LookupError::Nxdomain | LookupError::Nodata) => continue,
            Err(error) => return Found::Unknown(format!("{name} TXT: {error}")),
        };
        let meant: Vec<_> = records.iter().filter(|record| Policy::is_meant(record)).collect();
        let fix = format!("leave one record at {name}: v=DMARC1; p=none; rua=mailto:…");
        match meant[..] {
            [] => {}
            [record] => {
                return match Policy::parse(record) {
                    Ok(policy) => Found::Policy(policy, host.clone()),
                    Err(why) => Found::Bad(format!("{name}: {why}"), fix),
                };
            }
            _ => return Found::Bad(format!("{name} has {} DMARC records: wanted one", meant.len()), fix),
        }
    }
    let fix = format!("publish a DMARC record at _dmarc.{organisation}: v=DMARC1; p=none; rua=mailto:…");
    Found::Bad(format!("{domain} has no DMARC record"), fix)
}

/// `dmarc` of one source: whether its mail would pass.
pub(super) fn dmarc(room: &Room, source: &Source, policies: &Policies, spf: Option<&Spf>, signing: &Signing) -> Check {
    let check = |result, why: String| Check::new(CheckName::Dmarc, result, why);
    let Some(from) = from_domain(room, source) else {
        return check(CheckResult::Unknown, "the domain in From is not known".to_owned())
            .fix("give the message one From, or name an envelope sender (--from)");
    };
    let (policy, at) = match policies.get(&from) {
        Some(Found::Policy(policy, at)) => (policy, at),
        Some(Found::Bad(why, fix)) => return check(CheckResult::Fail, why.clone()).fix(fix.clone()),
        Some(Found::Unknown(why)) => return check(CheckResult::Unknown, why.clone()),
        None => return check(CheckResult::Unknown, format!("no policy of {from} was looked for")),
    };
    let envelope = match (sender(&room.probe, source), &source.ehlo) {
        (Sender::Mailbox(mailbox), _) => Some(mailbox.domain().clone()),
        (Sender::Null, crate::address::EhloName::Name(name)) => Some(name.clone()),
        (Sender::Null, _) => None,
    };
    let by_spf = envelope.as_ref().is_some_and(|domain| aligned(domain, &from, policy.strict_spf));
    let by_dkim = signing.domains.iter().find(|domain| aligned(domain, &from, policy.strict_dkim));
    let passes = spf.is_some_and(|spf| spf.result == SpfResult::Pass);
    let wish = if *at == from { policy.wish } else { policy.below };
    let asked = format!("p={wish} at {at}");
    let ways: Vec<String> = [
        (by_spf && passes).then(|| format!("SPF of {}", envelope.as_ref().map_or("", Host::as_str))),
        by_dkim.map(|domain| format!("DKIM of {domain}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !ways.is_empty() {
        return check(CheckResult::Pass, format!("{asked}; From {from} is spoken for by {}", ways.join(" and ")));
    }
    let spf_open = by_spf && spf.is_none_or(|spf| spf.result == SpfResult::TempError);
    let envelope = envelope.map_or_else(|| "no domain".to_owned(), |domain| domain.to_string());
    let spf = spf.map_or("unknown", |spf| spf.result.as_str());
    let why = format!("{asked}; nothing speaks for From {from}: SPF is {spf} for {envelope}");
    if spf_open || signing.open {
        let why = format!("{why}, and whether DKIM does is not known");
        return check(CheckResult::Unknown, why).fix("name the key that the campaign is signed with ([message] dkim)");
    }
    let signed: Vec<&str> = signing.domains.iter().map(Host::as_str).collect();
    let signed =
        if signed.is_empty() { "no signature holds".to_owned() } else { format!("DKIM is for {}", signed.join(", ")) };
    let fate = if wish == Wish::None { "" } else { "; receivers are asked not to deliver it" };
    check(CheckResult::Fail, format!("{why}, {signed}{fate}"))
        .fix(format!("sign with DKIM for {from}, or let its SPF name the source"))
}

/// The domain in the message's From; without a message, the envelope sender's.
fn from_domain(room: &Room, source: &Source) -> Option<Host> {
    let Some(body) = &room.probe.message.body else {
        return match sender(&room.probe, source) {
            Sender::Mailbox(mailbox) => Some(mailbox.domain().clone()),
            Sender::Null => None,
        };
    };
    let message = MessageParser::default().parse_headers(&body[..])?;
    let mut addresses = message.from()?.iter();
    let address = addresses.next()?.address.as_deref()?;
    addresses
        .next()
        .is_none()
        .then(|| address.parse::<Mailbox>().ok())
        .flatten()
        .map(|mailbox| mailbox.domain().clone())
}

/// Whether one domain speaks for another (section 3.1).
fn aligned(domain: &Host, from: &Host, strict: bool) -> bool {
    if strict { domain == from } else { organisation(domain) == organisation(from) }
}

/// The registrable domain; the domain itself where there is none.
fn organisation(domain: &Host) -> Host {
    psl::domain_str(domain.as_str()).and_then(|found| found.parse().ok()).unwrap_or_else(|| domain.clone())
}
