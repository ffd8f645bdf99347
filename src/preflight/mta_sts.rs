//! Where a sender that goes by MTA-STS would not come through (RFC 8461).

use super::Room;
use super::https::{self, Https};
use super::starttls::{Shown, Tally, addresses};
use super::theirs::listed_by;
use crate::address::Host;
use crate::policy::mta_sts::{self, Mode, Policy};
use crate::record::{Check, CheckName, CheckResult, Session};

const TELL: &str = "tell their postmaster: senders that go by MTA-STS keep the mail back, or bounce it";

/// Looks for a policy, and holds the exchangers' names against it. The policy comes with it where
/// there is one that senders go by.
pub(super) async fn look(room: &Room, domain: &Host, https: Https) -> (Check, Option<Policy>) {
    let check = |result, detail: String| Check::new(CheckName::MtaSts, result, detail);
    let owner = format!("_mta-sts.{domain}");
    let Ok(name) = owner.parse() else {
        return (check(CheckResult::Pass, "the name is too long for a policy".to_owned()), None);
    };
    let texts = match room.dns.txt(&name).await {
        Ok(texts) => texts,
        Err(error) if error.is_denial() => Vec::new(),
        Err(error) => return (check(CheckResult::Unknown, format!("TXT records of {owner}: {error}")), None),
    };
    let as_without = |why: &str| {
        let detail = format!("{why}; senders go by a policy that they still keep, else by none");
        check(CheckResult::Warn, detail)
            .fix("nothing to change here: their policy is broken, and their postmaster may want to know")
    };
    match mta_sts::id(&texts) {
        Ok(None) => return (check(CheckResult::Pass, "no policy".to_owned()), None),
        Ok(Some(_)) => {}
        Err(why) => return (as_without(&format!("{owner}: {why}")), None),
    }
    match https::fetch(domain, &room.dns, &room.trust, https).await {
        Ok(policy) => (names(room, &policy), Some(policy)),
        Err(why) => (as_without(&why), None),
    }
}

/// The exchangers' names against the policy.
fn names(room: &Room, policy: &Policy) -> Check {
    let head = format!("mode {}, kept for {}", policy.mode, humantime::format_duration(policy.max_age));
    let check = |result, detail: String| Check::new(CheckName::MtaSts, result, detail);
    if policy.mode == Mode::None {
        return check(CheckResult::Pass, head);
    }
    let all = &room.route.exchangers;
    let admitted = |name: &String| name.parse().is_ok_and(|host| policy.admits(&host));
    let others: Vec<String> = all.iter().filter_map(|e| e.name.clone()).filter(|name| !admitted(name)).collect();
    if others.is_empty() {
        return check(CheckResult::Pass, format!("{head}: it names every exchanger"));
    }
    let detail = format!("{head}: it does not name {}", listed_by(&others, ", "));
    check(severity(policy, others.len() == all.len()), detail).fix(TELL)
}

/// What the sessions say to it; nothing where none tells.
pub(super) fn seen(policy: &Policy, sessions: &[Session]) -> Option<Check> {
    if policy.mode == Mode::None {
        return None;
    }
    let tally = Tally::of(sessions, |session, shown| {
        session.mx.as_deref()?.parse().ok().filter(|mx| policy.admits(mx))?;
        match shown {
            Shown::Offered => None,
            Shown::Done(tls) if !tls.verified => {
                Some(Err(tls.problem.clone().unwrap_or_else(|| "the certificate does not hold".to_owned())))
            }
            shown => Some(shown.missing().map_or(Ok(()), Err)),
        }
    });
    let check = |result, detail: String| Check::new(CheckName::MtaSts, result, detail);
    match (tally.bad.len(), tally.good) {
        (0, 0) => None,
        (0, good) => Some(check(CheckResult::Pass, format!("TLS is as the policy wants it at {}", addresses(good)))),
        (bad, good) => {
            let enforced = if policy.mode == Mode::Enforce { "fails" } else { "would fail, were the policy enforced," };
            let detail = format!(
                "a sender that goes by MTA-STS {enforced} at {bad} of {}: {}",
                addresses(bad + good),
                tally.listed()
            );
            Some(check(severity(policy, good == 0), detail).fix(TELL))
        }
    }
}

/// In testing senders send, and report.
fn severity(policy: &Policy, everywhere: bool) -> CheckResult {
    if everywhere && policy.mode == Mode::Enforce { CheckResult::Fail } else { CheckResult::Warn }
}
