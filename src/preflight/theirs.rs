//! Checks of the target: its exchangers, MTA-STS, DANE, TLS reports, and STARTTLS at every address.
//!
//! What is checked is whether a sender that enforces TLS would come through. That most senders
//! enforce nothing is no reason to leave it out: those who do are large, and say so in a bounce only.

use std::sync::Arc;

use super::https::Https;
use super::{Room, dane, mta_sts, starttls, tls_rpt};
use crate::dane::Dane;
use crate::plan::Exchanger;
use crate::policy::mta_sts::Policy;
use crate::record::{Check, CheckName, CheckResult, LookupError, Session};
use crate::smtp::fault::Fault;

/// Names that are spelled out in one text.
const MOST_NAMED: usize = 3;

/// What could be learned before any session.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    /// `mx`, `mta-sts`, `dane`, `tls-rpt`, in this order.
    pub checks: Vec<Check>,
    /// The policy of MTA-STS, where there is one.
    pub(super) policy: Option<Policy>,
    /// What DANE asks of sessions with each exchanger, by its name.
    pub(super) dane: Vec<(String, Arc<Dane>)>,
}

/// What can be asked before any session. The policy of MTA-STS is fetched from port 443.
pub async fn theirs(room: &Room) -> Theirs {
    theirs_over(room, Https::default()).await
}

/// The same with another way to the policy.
pub async fn theirs_over(room: &Room, https: Https) -> Theirs {
    let of_domain = async {
        match &room.route.domain {
            Some(domain) => {
                let (policy, reports) = tokio::join!(mta_sts::look(room, domain, https), tls_rpt::look(room, domain));
                (Some(policy), Some(reports))
            }
            None => (None, None),
        }
    };
    let ((policy, reports), dane) = tokio::join!(of_domain, dane::look(room));
    let mut checks = vec![mx(room)];
    let policy = policy.and_then(|(check, policy)| {
        checks.push(check);
        policy
    });
    checks.extend(dane::check(&dane));
    checks.extend(reports);
    Theirs { checks, policy, dane }
}

/// What only the sessions show: `starttls`, and where a sender that goes by MTA-STS or DANE would not
/// have come through. `sessions` are those with this target.
#[must_use]
pub fn seen(found: &Theirs, sessions: &[Session]) -> Vec<Check> {
    let mut checks = vec![starttls::check(sessions)];
    checks.extend(found.policy.as_ref().and_then(|policy| mta_sts::seen(policy, sessions)));
    checks.extend(dane::seen(&found.dane, sessions));
    checks
}

/// The exchangers, as the run that probes them has them.
fn mx(room: &Room) -> Check {
    let route = &room.route;
    let check = |result, detail: String| Check::new(CheckName::Mx, result, detail);
    let fix = "ask their postmaster: mail to this domain cannot arrive";
    if let Some(fault) = &route.fault {
        let notes = route.notes.iter().map(|note| format!(" ({note})")).collect::<Vec<_>>().concat();
        // That nobody answered us says nothing about them.
        if matches!(fault, Fault::Dns(error) if !matches!(error, LookupError::Nxdomain | LookupError::Nodata)) {
            return check(CheckResult::Unknown, format!("{fault}{notes}"));
        }
        return check(CheckResult::Fail, format!("{fault}{notes}")).fix(fix);
    }
    let name = |exchanger: &Exchanger| exchanger.name.clone().unwrap_or_else(|| listed(&exchanger.addresses));
    let (usable, without): (Vec<&Exchanger>, Vec<&Exchanger>) =
        route.exchangers.iter().partition(|exchanger| exchanger.fault.is_none());
    let addresses: usize = usable.iter().map(|exchanger| exchanger.addresses.len()).sum();
    let count = format!("{} of {} exchangers", usable.len(), route.exchangers.len());
    let mut found = vec![format!("{count}, {}", starttls::addresses(addresses))];
    found.extend(without.iter().filter_map(|e| Some(format!("{}: {}", name(e), e.fault.as_ref()?))));
    let noted = route.exchangers.iter().filter(|exchanger| !exchanger.notes.is_empty());
    let noted: Vec<String> = noted.map(|e| format!("{}: {}", name(e), e.notes.join(", "))).collect();
    let result = match (usable.is_empty(), without.is_empty() && noted.is_empty()) {
        (true, _) => CheckResult::Fail,
        (false, false) => CheckResult::Warn,
        (false, true) => CheckResult::Pass,
    };
    found.extend(noted);
    let check = check(result, listed_by(&found, "; "));
    if result == CheckResult::Fail { check.fix(fix) } else { check }
}

/// The first few of some, and how many more there are.
pub(super) fn listed<T: ToString>(all: &[T]) -> String {
    listed_by(&all.iter().map(ToString::to_string).collect::<Vec<_>>(), ", ")
}

pub(super) fn listed_by(all: &[String], between: &str) -> String {
    let shown = all.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(between);
    match all.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown}{between}and {more} more"),
    }
}
