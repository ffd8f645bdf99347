//! Where a sender that goes by DANE would not come through (RFC 7672).

use std::sync::Arc;

use super::Room;
use super::starttls::{Shown, Tally, addresses};
use super::theirs::listed_by;
use crate::address::Host;
use crate::dane::Dane;
use crate::record::{Check, CheckName, CheckResult, LookupError, Session};

/// What DANE asks of sessions with each exchanger: as the run has it, else looked up.
pub(super) async fn look(room: &Room) -> Vec<(String, Arc<Dane>)> {
    let exchangers = || room.route.exchangers.iter().filter_map(|e| Some((e.name.clone()?, e)));
    if exchangers().any(|(_, exchanger)| exchanger.dane.is_some()) {
        return exchangers()
            .filter_map(|(name, exchanger)| Some((name, Arc::clone(exchanger.dane.as_ref()?))))
            .collect();
    }
    let by_mx = exchangers().any(|(_, exchanger)| exchanger.preference.is_some());
    let hosts: Vec<Host> =
        exchangers().filter(|(_, e)| e.fault.is_none()).filter_map(|(n, _)| n.parse().ok()).collect();
    if hosts.is_empty() {
        return Vec::new();
    }
    let by_mx = room.route.domain.as_ref().filter(|_| by_mx);
    let found = room.dns.dane(by_mx, &hosts, room.probe.target.port).await;
    hosts.iter().map(Host::to_string).zip(found.into_iter().map(Arc::new)).collect()
}

/// What DNS alone says; nothing where there is no exchanger to ask about.
pub(super) fn check(found: &[(String, Arc<Dane>)]) -> Option<Check> {
    let check = |result, detail: String| Check::new(CheckName::Dane, result, detail);
    let (mut unknown, mut barred, mut odd, mut wanted, mut absent) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (mx, dane) in found {
        match &**dane {
            // It may be our own resolver that says nothing.
            Dane::Unknown(error @ (LookupError::Unreachable | LookupError::Timeout), what) => {
                unknown.push(format!("{what}: {error}"));
            }
            Dane::Unknown(error, what) => barred.push(format!("{mx}: {what}: {error}")),
            Dane::AnyCertificate(why) => odd.push(why.clone()),
            Dane::Wanted(records) => wanted.push(format!("{} of {mx}", records.records.len())),
            Dane::Absent(why) => absent.push(why.clone()),
        }
    }
    absent.dedup();
    unknown.dedup();
    Some(if !barred.is_empty() {
        let all = barred.len() == found.len();
        let result = if all { CheckResult::Fail } else { CheckResult::Warn };
        let who = if all { "no mail arrives from senders that go by DANE" } else { "such senders pass these over" };
        check(result, format!("{who}: {}", listed_by(&barred, "; ")))
            .fix("tell their DNS operator: signatures or servers of the zone are broken")
    } else if !unknown.is_empty() {
        check(CheckResult::Unknown, listed_by(&unknown, "; "))
    } else if !odd.is_empty() {
        check(CheckResult::Warn, listed_by(&odd, "; ")).fix("tell their postmaster: publish 3 1 1 records")
    } else if !wanted.is_empty() {
        check(CheckResult::Pass, format!("usable TLSA records: {}", listed_by(&wanted, ", ")))
    } else {
        check(
            CheckResult::Pass,
            format!("not asked for: {}", listed_by(absent.get(..).filter(|a| !a.is_empty())?, "; ")),
        )
    })
}

/// What the certificates say to it; nothing where no session was held against a record.
pub(super) fn seen(found: &[(String, Arc<Dane>)], sessions: &[Session]) -> Option<Check> {
    let of = |mx: &str| found.iter().find(|(name, _)| name.eq_ignore_ascii_case(mx)).map(|(_, dane)| &**dane);
    let tally = Tally::of(sessions, |session, shown| {
        let dane = of(session.mx.as_deref()?)?;
        match (dane, shown) {
            (Dane::Absent(_) | Dane::Unknown(..), _) | (_, Shown::Offered) => None,
            (Dane::Wanted(_), Shown::Done(tls)) => match (&tls.dane, &tls.dane_problem) {
                (_, Some(problem)) => Some(Err(problem.clone())),
                (Some(_), None) => Some(Ok(())),
                (None, None) => None,
            },
            (_, shown) => Some(shown.missing().map_or(Ok(()), Err)),
        }
    });
    let check = |result, detail: String| Check::new(CheckName::Dane, result, detail);
    match (tally.bad.len(), tally.good) {
        (0, 0) => None,
        (0, good) => {
            Some(check(CheckResult::Pass, format!("the records vouch for the certificate at {}", addresses(good))))
        }
        (bad, good) => {
            let result = if good == 0 { CheckResult::Fail } else { CheckResult::Warn };
            let detail =
                format!("a sender that goes by DANE fails at {bad} of {}: {}", addresses(bad + good), tally.listed());
            Some(check(result, detail).fix("tell their postmaster: what their TLSA records ask for is not there"))
        }
    }
}
