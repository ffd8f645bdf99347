//! Checks of ourselves: every source's names and SPF, the key, the policy, the message.

use futures_util::future::join_all;

use super::{Room, alignment, dnsbl, key, letter, names};
use crate::address::{Host, Sender};
use crate::auth::{Spf, SpfResult, check_host};
use crate::dns::Route;
use crate::plan::{Source, sender};
use crate::record::{Check, CheckName, CheckResult, LookupError, Session};

/// What can be asked before any session.
pub async fn ours(room: &Room) -> Vec<Check> {
    // Sources share most of their questions.
    let room = &Room { dns: room.dns.keeping(), ..room.clone() };
    let own: Vec<&Source> = room.sources.iter().filter(|source| !source.neutral).collect();
    let per_source = join_all(own.iter().map(|&source| of_source(room, source)));
    let (per_source, signing, policy, mx) =
        tokio::join!(per_source, key::key(room), alignment::policy(room), mx(room, &own),);
    let mut checks = Vec::new();
    for (source, (found, spf)) in own.iter().zip(per_source) {
        checks.extend(found);
        checks.push(alignment::dmarc(room, source, &policy, spf.as_ref(), &signing).of(source.address));
    }
    checks.extend(signing.checks);
    checks.extend([mx, letter::letter(room)].concat());
    checks
}

/// What only the sessions show: the message against what the servers take.
#[must_use]
pub fn seen(room: &Room, sessions: &[Session]) -> Vec<Check> {
    letter::against(room, sessions)
}

/// The checks of one source, and its SPF.
async fn of_source(room: &Room, source: &Source) -> (Vec<Check>, Option<Spf>) {
    let names = async {
        let (ptr, ehlo) = tokio::join!(
            room.in_time(CheckName::Ptr, names::reverse(&room.dns, source)),
            room.in_time(CheckName::EhloName, names::ehlo(&room.dns, source)),
        );
        [vec![names::bound(source)], ptr, ehlo].concat()
    };
    let policy = async {
        let mut found = None;
        let checks = room.in_time(CheckName::Spf, async {
            found = check_host(&room.dns, source.seen_as, &sender(&room.probe, source), &source.ehlo).await;
            vec![spf(room, source, found.as_ref())]
        });
        let checks = checks.await;
        (checks, found)
    };
    let (names, (policy, spf), lists) = tokio::join!(names, policy, dnsbl::listed(room, source));
    let all = [names, policy, lists].concat();
    (all.into_iter().map(|check| check.of(source.address)).collect(), spf)
}

fn spf(room: &Room, source: &Source, found: Option<&Spf>) -> Check {
    let Some(spf) = found else {
        return Check::new(CheckName::Spf, CheckResult::Unknown, "neither the sender nor the EHLO name is a domain")
            .fix("name an envelope sender (--from)");
    };
    let ip = source.seen_as;
    let domain = match sender(&room.probe, source) {
        Sender::Mailbox(mailbox) => mailbox.domain().to_string(),
        Sender::Null => source.ehlo.to_string(),
    };
    let term = if ip.is_ipv4() { format!("ip4:{ip}") } else { format!("ip6:{ip}") };
    let detail = format!("{}: {}", spf.result, spf.why);
    let (result, fix) = match spf.result {
        SpfResult::Pass => return Check::new(CheckName::Spf, CheckResult::Pass, detail),
        SpfResult::TempError => (CheckResult::Unknown, "test again when these names resolve".to_owned()),
        SpfResult::None => (CheckResult::Fail, format!("publish an SPF record for {domain}: v=spf1 {term} -all")),
        SpfResult::PermError => {
            (CheckResult::Fail, format!("mend the SPF record of {domain}: receivers take none of it"))
        }
        _ => (CheckResult::Fail, format!("add {term} to the SPF record of {domain}")),
    };
    Check::new(CheckName::Spf, result, detail).fix(fix)
}

/// Whether bounces come back: the envelope domain has an exchanger, or an address.
async fn mx(room: &Room, own: &[&Source]) -> Vec<Check> {
    let mut domains: Vec<Option<Host>> = Vec::new();
    for source in own {
        let domain = match sender(&room.probe, source) {
            Sender::Mailbox(mailbox) => Some(mailbox.domain().clone()),
            Sender::Null => None,
        };
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    let checks = domains.into_iter().map(|domain| async move {
        let Some(domain) = domain else {
            return vec![Check::new(CheckName::Mx, CheckResult::Pass, "the null sender gets no bounces")];
        };
        room.in_time(CheckName::Mx, async { vec![bounces(&domain, &room.dns.route(&domain).await)] }).await
    });
    join_all(checks).await.concat()
}

fn bounces(domain: &Host, route: &Route) -> Check {
    let fail = |why: String| {
        Check::new(CheckName::Mx, CheckResult::Fail, why)
            .fix(format!("publish an MX for {domain} that takes its bounces"))
    };
    let unknown =
        |error: &LookupError| Check::new(CheckName::Mx, CheckResult::Unknown, format!("{domain} MX: {error}"));
    match route {
        Route::Exchangers(exchangers) => {
            let named = exchangers.iter().find(|exchanger| exchanger.addresses.is_ok());
            let failed = exchangers.iter().filter_map(|exchanger| exchanger.addresses.as_ref().err());
            let open = |e: &&LookupError| !matches!(e, LookupError::Nxdomain | LookupError::Nodata);
            match (named, failed.clone().find(open)) {
                (Some(exchanger), _) if exchanger.preference.is_none() => {
                    Check::new(CheckName::Mx, CheckResult::Pass, format!("{domain} has no MX, and an address"))
                }
                (Some(exchanger), _) => {
                    Check::new(CheckName::Mx, CheckResult::Pass, format!("{domain}: {}", exchanger.name))
                }
                (None, Some(error)) => unknown(error),
                (None, None) => fail(format!("no exchanger of {domain} has an address")),
            }
        }
        Route::NullMx => fail(format!("{domain} takes no mail (null MX, RFC 7505), and so no bounces")),
        Route::NoSuchDomain => fail(format!("there is no domain {domain}")),
        Route::NoMail => fail(format!("{domain} has neither MX nor address")),
        Route::Failed(error) => unknown(error),
    }
}
