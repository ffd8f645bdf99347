//! Row 11 of the table: the reply complains of authentication or of PTR, and our own check agrees.
//!
//! Apart because it is the one hypothesis that rests on words together with a check of ourselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::case::Case;
use super::sentences::{self, diagnosis, list, main_sign, visible};
use super::time::{by_words, windows};
use super::trial::Trial;
use super::{Found, SoFar};
use crate::catalog::Scope;
use crate::record::{Check, CheckName, CheckResult, Confidence, DiagnosisKind, Elsewhere, Kind};

/// What the other side says is missing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Lack {
    Authentication,
    ReverseDns,
}

impl Lack {
    const fn checks(self) -> &'static [CheckName] {
        match self {
            Self::Authentication => &[CheckName::Spf, CheckName::Dkim, CheckName::Dmarc],
            Self::ReverseDns => &[CheckName::Ptr, CheckName::Fcrdns, CheckName::EhloName],
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Authentication => "authentication (SPF, DKIM, DMARC)",
            Self::ReverseDns => "reverse DNS (PTR, EHLO name)",
        }
    }
}

/// Row 11.
pub(super) fn auth_or_fcrdns(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let mut complaints: BTreeMap<(Lack, bool), Vec<&Trial>> = BTreeMap::new();
    for &t in left.iter().filter(|t| t.kind == Kind::Rejected) {
        if let Some(lack) = lack(case, t) {
            let proven = failed_checks(case, lack, t).next().is_some();
            complaints.entry((lack, proven)).or_default().push(t);
        }
    }
    for ((lack, proven), failures) in complaints {
        let said = sentences::words(case, &failures);
        if !proven {
            let because = format!("the words complain of {}: {}", lack.title(), said.join("; "));
            let raise = "the same check of ourselves (fcrdns, spf, dkim, dmarc)";
            found.suspects.push(by_words(DiagnosisKind::AuthOrFcrdns, because, raise, false));
            continue;
        }
        let mut d = diagnosis(DiagnosisKind::AuthOrFcrdns, Confidence::High);
        d.sources = case.ips(failures.iter().filter_map(|t| t.source));
        let sources: BTreeSet<_> = failures.iter().filter_map(|t| t.source).collect();
        let here = |t: &&&Trial| t.source.is_some_and(|s| sources.contains(&s));
        d.failed = failures.iter().map(|t| t.weight).sum();
        d.tried = left.iter().filter(here).map(|t| t.weight).sum();
        let rest = |bad: bool| left.iter().filter(|t| !here(t) && (t.failed() || !bad)).map(|t| t.weight).sum();
        d.elsewhere = Elsewhere { failed: rest(true), tried: rest(false) };
        if let Some((sign, _)) = main_sign(case, &failures) {
            (d.stage, d.code) = (sign.stage, sign.code);
        }
        d.windows = windows(failures.iter().copied());
        d.because.push(format!("the replies complain of {}", lack.title()));
        d.because.extend(said);
        let checks: BTreeSet<String> =
            failures.iter().flat_map(|t| failed_checks(case, lack, t)).map(|c| told(c, &d.sources)).collect();
        d.because.push(format!("and our own check fails the same: {}", list(checks)));
        d.advice = match lack {
            Lack::Authentication => "publish SPF and DMARC for the sender's domain, sign with DKIM, and let them align",
            Lack::ReverseDns => "give each source a PTR name that resolves back to it, and use that name in EHLO",
        }
        .into();
        d.notes = sentences::notes(case, &failures);
        found.diagnoses.push(d);
        let explained: BTreeSet<_> = failures.iter().map(|t| std::ptr::from_ref::<Trial>(t)).collect();
        found.excuse(left, |t| explained.contains(&std::ptr::from_ref(t)));
    }
    found
}

fn told(check: &Check, sources: &[IpAddr]) -> String {
    let of = check.source.filter(|_| sources.len() > 1).map(|s| format!(" of {s}")).unwrap_or_default();
    let detail = check.detail.as_deref().map(|d| format!(" ({})", visible(d))).unwrap_or_default();
    format!("{}{of}{detail}", check.check)
}

/// The failed checks of this session's source, or of us all, that are about this.
fn failed_checks<'a>(case: &Case<'a>, lack: Lack, t: &Trial) -> impl Iterator<Item = &'a Check> {
    let source = t.source.map(|s| case.ip(s));
    let about = move |c: &&Check| c.source.is_none() || c.source == source;
    case.ground
        .checks
        .iter()
        .filter(move |c| c.result == CheckResult::Fail && lack.checks().contains(&c.check))
        .filter(about)
}

/// What a refusal complains of, by the catalogue, its enhanced code or its words.
fn lack(case: &Case<'_>, t: &Trial) -> Option<Lack> {
    match case.rule(t).map(|rule| rule.scope) {
        Some(Scope::SenderAuth) => return Some(Lack::Authentication),
        Some(Scope::SenderDns) => return Some(Lack::ReverseDns),
        _ => {}
    }
    // RFC 7372 and the IANA registry: 20 to 24, 26, 27 and 30 are authentication, 25 is reverse DNS.
    match t.enhanced.map(|e| (e.subject, e.detail)) {
        Some((7, 20..=24 | 26 | 27 | 30)) => return Some(Lack::Authentication),
        Some((7, 25)) => return Some(Lack::ReverseDns),
        _ => {}
    }
    let text = case.names().words(t.said?)?.text.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|p| text.contains(p));
    if says(&[
        "reverse dns",
        "rdns",
        "ptr record",
        "no ptr",
        "reverse hostname",
        "reverse lookup",
        "fcrdns",
        "helo name",
    ]) {
        Some(Lack::ReverseDns)
    } else if says(&["unauthenticated", "spf", "dkim", "dmarc", "not authenticated", "authentication check"]) {
        Some(Lack::Authentication)
    } else {
        None
    }
}
