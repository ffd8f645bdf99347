//! What the lookups say: our resolver, their zone, or a domain that takes no mail. Rows 2, 3 and 4 of
//! the table.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, host};
use super::sentences::{diagnosis, list, plural, sessions, undecided, visible};
use super::trial::Trial;
use super::{Found, SoFar, silence};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Kind, Lookup, LookupError};
use crate::stage::Stage;

pub(super) const MEND: &str =
    "mend this host's resolver, or name another with --dns; nothing here says anything about the provider";

/// Row 2: the resolver answers for no name, or for none any more.
pub(super) fn local_dns(case: &Case<'_>, left: &[&Trial], _: &SoFar) -> Found {
    let mut found = Found::default();
    let target = Target::new(case);
    let asked = told_by(&case.ground.lookups, &target);
    let unreachable = sessions(case.aside.iter().filter(|t| t.kind == Kind::Local && t.stage == Some(Stage::Resolve)));
    let silent = !asked.is_empty() && !asked.iter().any(|l| answers(l));
    let (ours, others): (Vec<&Lookup>, Vec<&Lookup>) = asked.iter().copied().partition(|l| target.owns(l));
    // A server failure for the one name that was asked is more likely theirs.
    let theirs =
        others.is_empty() && ours.iter().all(|l| matches!(l.error, Some(LookupError::Servfail | LookupError::Bogus)));
    let about_target = !ours.is_empty() || left.is_empty();
    let holds = if asked.is_empty() { unreachable > 0 && left.is_empty() } else { silent && !theirs && about_target };
    if !holds {
        found.diagnoses.extend(silence::of_ours(&case.ground.lookups, &target));
        return found;
    }
    let confidence = if others.is_empty() { Confidence::Medium } else { Confidence::High };
    let mut d = diagnosis(DiagnosisKind::LocalDns, confidence);
    d.stage = Some(Stage::Resolve);
    d.failed = (asked.len() as u64).max(unreachable);
    d.tried = d.failed;
    d.windows = 1;
    if asked.is_empty() {
        d.because.push(format!("{} found no resolver to ask", plural(unreachable, "session")));
    } else {
        d.because.push(format!(
            "{} answered none of {} for {}: {}",
            list(asked.iter().map(|l| &l.resolver).collect::<BTreeSet<_>>()),
            plural(asked.len() as u64, "question"),
            list(asked.iter().map(|l| host(&l.name)).collect::<BTreeSet<_>>()),
            errors(asked.iter().copied()),
        ));
    }
    if others.is_empty() {
        d.because.push("no other name was asked for".to_owned());
        d.would_raise.push("a lookup of another name, or a control (--control)".to_owned());
        d.would_raise.push("another resolver (--dns)".to_owned());
    } else {
        d.because.push(format!("{} of them for names that are not the target's", others.len()));
    }
    d.advice = MEND.into();
    found.diagnoses.push(d);
    found
}

/// The lookups that a resolver is judged by: those of addresses left aside where they alone were
/// answered, which may be this host's own to answer, and no name was, whosever it is.
fn told_by<'a>(asked: &'a [Lookup], target: &Target<'_>) -> Vec<&'a Lookup> {
    let (names, addresses): (Vec<&Lookup>, Vec<&Lookup>) = asked.iter().partition(|l| silence::forward(l));
    let unreachable = names.iter().all(|l| l.error == Some(LookupError::Unreachable));
    let of_nobody = unreachable || names.iter().any(|l| !target.owns(l));
    let aside = !names.is_empty() && of_nobody && !names.iter().any(|l| answers(l));
    if aside && addresses.iter().any(|l| answers(l)) { names } else { asked.iter().collect() }
}

/// Row 3: a domain that does not exist or takes no mail.
pub(super) fn bad_target(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    if !left.is_empty() || so_far.diagnoses.iter().any(|d| d.kind == DiagnosisKind::LocalDns) || unasked(case) {
        return found;
    }
    if let Some(why) = Target::new(case).takes_no_mail(case) {
        let mut d = diagnosis(DiagnosisKind::BadTarget, Confidence::Certain);
        d.stage = Some(Stage::Resolve);
        d.windows = 1;
        let failed = sessions(case.aside.iter().filter(|t| t.kind == Kind::DnsFailed));
        (d.failed, d.tried) = (failed, failed);
        d.because.push(why);
        d.advice = "check the spelling of the domain; mail to it bounces from everywhere".into();
        found.diagnoses.push(d);
    }
    found
}

/// Row 4: the target's zone does not answer, others do.
pub(super) fn receiver_dns_fault(case: &Case<'_>, left: &[&Trial], so_far: &SoFar) -> Found {
    let mut found = Found::default();
    let named = |d: &Diagnosis| matches!(d.kind, DiagnosisKind::LocalDns | DiagnosisKind::BadTarget);
    if !left.is_empty() || so_far.diagnoses.iter().any(named) {
        return found;
    }
    let target = Target::new(case);
    let unresolved = sessions(case.aside.iter().filter(|t| t.kind == Kind::DnsFailed));
    if unasked(case) {
        return found;
    }
    let faults = target.faults();
    if faults.is_empty() {
        if unresolved > 0 {
            found.diagnoses.push(unresolved_for_unknown_reasons(case, unresolved));
        }
        return found;
    }
    let resolvers: BTreeSet<&String> = faults.iter().map(|l| &l.resolver).collect();
    let confidence = if resolvers.len() >= 2 { Confidence::High } else { Confidence::Medium };
    let mut d = diagnosis(DiagnosisKind::ReceiverDnsFault, confidence);
    d.stage = Some(Stage::Resolve);
    d.windows = 1;
    d.failed = faults.len() as u64;
    d.tried = d.failed;
    d.because.push(format!(
        "{} did not resolve for {}: {}",
        list(faults.iter().map(|l| host(&l.name)).collect::<BTreeSet<_>>()),
        list(&resolvers),
        errors(faults.iter().copied()),
    ));
    let others = case.ground.lookups.iter().filter(|l| !target.owns(l) && answers(l)).count();
    if others > 0 {
        d.because.push(format!("{} for other names were answered", plural(others as u64, "question")));
    } else {
        d.would_raise.push("a lookup of another name, or a control (--control)".to_owned());
    }
    if resolvers.len() < 2 {
        d.would_raise.push("a second resolver (--dns)".to_owned());
    }
    d.advice = "nothing to change on our side: keep the mail queued, and tell the domain's DNS operator".into();
    found.diagnoses.push(d);
    found
}

fn unresolved_for_unknown_reasons(case: &Case<'_>, sessions: u64) -> Diagnosis {
    use DiagnosisKind::{BadTarget, LocalDns, ReceiverDnsFault};
    let mut d = undecided([LocalDns, BadTarget, ReceiverDnsFault], None);
    d.stage = Some(Stage::Resolve);
    (d.failed, d.tried) = (sessions, sessions);
    d.windows = 1;
    d.because.push(format!("{} did not resolve, and no lookup is on record", visible(case.title())));
    d.would_raise.push("the lookups themselves: what the resolver answered for the target and for others".to_owned());
    d
}

/// Whether the run was stopped before it knew, or no server could be asked: what is missing then is
/// no fault of theirs, whatever the first lookups say.
fn unasked(case: &Case<'_>) -> bool {
    !case.aside.is_empty() && !case.aside.iter().any(|t| t.kind == Kind::DnsFailed)
}

/// What is reported beside a diagnosis: exchangers that have no address while others do, and those of
/// which DANE could not tell whether mail may go there.
pub(super) fn exchangers_not_probed(case: &Case<'_>) -> Vec<String> {
    let failed = case.aside.iter().filter(|t| t.kind == Kind::DnsFailed);
    let by_dane = |t: &&&Trial| t.detail.is_some_and(|d| case.names().text(d).starts_with("DANE: "));
    let (barred, failed): (Vec<&Trial>, Vec<&Trial>) = failed.partition(|t| by_dane(&t));
    let name = |t: &Trial| t.mx.map(|n| host(case.names().text(n)));
    let barred: BTreeSet<String> = barred.into_iter().filter_map(name).collect();
    let mut names: BTreeSet<String> = failed.into_iter().filter_map(name).collect();
    let target = Target::new(case);
    names.extend(target.exchangers.iter().filter(|mx| target.is_without_address(mx)).cloned());
    let without = names.into_iter().map(|mx| format!("mx-without-address: {}", visible(&mx)));
    without.chain(barred.into_iter().map(|mx| format!("mx-barred-by-dane: {}", visible(&mx)))).collect()
}

/// Whether the resolver gave an answer, be it that there is none.
pub(super) fn answers(l: &Lookup) -> bool {
    matches!(l.error, None | Some(LookupError::Nxdomain | LookupError::Nodata))
}

pub(super) fn errors<'a>(lookups: impl IntoIterator<Item = &'a Lookup>) -> String {
    let mut counts: BTreeMap<LookupError, u64> = BTreeMap::new();
    for error in lookups.into_iter().filter_map(|l| l.error) {
        *counts.entry(error).or_default() += 1;
    }
    list(counts.iter().map(|(error, n)| if *n == 1 { error.to_string() } else { format!("{error} {n} times") }))
}

/// The target's names, and what was asked about them.
pub(super) struct Target<'a> {
    domain: Option<String>,
    exchangers: BTreeSet<String>,
    lookups: Vec<&'a Lookup>,
}

impl<'a> Target<'a> {
    fn new(case: &Case<'a>) -> Self {
        let domain = case.domain.map(|d| host(case.names().text(d)));
        let is_domain = |l: &&Lookup| domain.as_deref() == Some(&*host(&l.name));
        let answered = case.ground.lookups.iter().filter(is_domain).filter(|l| l.rtype.eq_ignore_ascii_case("MX"));
        let mut exchangers: BTreeSet<String> =
            answered.flat_map(|l| l.answers.iter().filter_map(|a| exchanger(a))).collect();
        exchangers.extend(case.aside.iter().filter_map(|t| t.mx).map(|n| host(case.names().text(n))));
        let mut target = Self { domain, exchangers, lookups: Vec::new() };
        target.lookups = case.ground.lookups.iter().filter(|l| target.owns(l)).collect();
        target
    }

    /// Whether a lookup is about the target's zone.
    pub(super) fn owns(&self, l: &Lookup) -> bool {
        let name = host(&l.name);
        let within = |zone: &str| name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
        self.domain.as_deref().is_some_and(within) || self.exchangers.iter().any(|mx| within(mx))
    }

    fn of(&self, name: &str, rtypes: &[&str]) -> Vec<&'a Lookup> {
        let asks = |l: &&&Lookup| host(&l.name) == name && rtypes.iter().any(|r| l.rtype.eq_ignore_ascii_case(r));
        self.lookups.iter().filter(asks).copied().collect()
    }

    /// Why the target takes no mail, if that is a fact.
    fn takes_no_mail(&self, case: &Case<'_>) -> Option<String> {
        let title = visible(case.title());
        let Some(domain) = self.domain.as_deref() else { return self.no_exchanger_resolves() };
        let has = |rtypes: &[&str], error| self.of(domain, rtypes).iter().any(|l| l.error == error);
        let any = ["MX", "A", "AAAA"];
        let given =
            |rtypes: &[&str]| self.of(domain, rtypes).iter().any(|l| l.error.is_none() && !l.answers.is_empty());
        let mx: BTreeSet<&String> = self.of(domain, &["MX"]).into_iter().flat_map(|l| &l.answers).collect();
        if !mx.is_empty() && mx.iter().all(|a| exchanger(a).is_none()) {
            return Some(format!("{title} says with a null MX that it takes no mail (RFC 7505)"));
        }
        if has(&any, Some(LookupError::Nxdomain)) && !given(&any) {
            return Some(format!("{title} does not exist (NXDOMAIN)"));
        }
        let nothing = |rtypes: &[&str]| {
            let asked = self.of(domain, rtypes);
            let empty = |l: &&Lookup| l.error == Some(LookupError::Nodata) || l.error.is_none() && l.answers.is_empty();
            asked.iter().any(empty) && asked.iter().all(empty)
        };
        let addresses = self.of(domain, &["A", "AAAA"]);
        if nothing(&["MX"])
            && (nothing(&["A", "AAAA"]) || addresses.is_empty() && !self.lookups.is_empty() && self.unresolved(case))
        {
            return Some(format!("{title} has neither an MX record nor an address"));
        }
        if mx.is_empty() && self.lookups.is_empty() && self.detail_says(case, "nxdomain") {
            return Some(format!("{title} does not exist (NXDOMAIN)"));
        }
        if mx.is_empty() { None } else { self.no_exchanger_resolves() }
    }

    /// Whether every session ended because a name has no address.
    fn unresolved(&self, case: &Case<'_>) -> bool {
        let mut failed = case.aside.iter().filter(|t| t.kind == Kind::DnsFailed).peekable();
        failed.peek().is_some() && self.exchangers.is_empty()
    }

    fn detail_says(&self, case: &Case<'_>, word: &str) -> bool {
        let mut failed = case.aside.iter().filter(|t| t.kind == Kind::DnsFailed).peekable();
        let says = |t: &Trial| t.detail.is_some_and(|d| case.names().text(d).to_ascii_lowercase().contains(word));
        self.lookups.is_empty() && failed.peek().is_some() && failed.all(says)
    }

    /// All exchangers are names without an address: a fact only if each was asked and answered so.
    fn no_exchanger_resolves(&self) -> Option<String> {
        (!self.exchangers.is_empty() && self.exchangers.iter().all(|mx| self.is_without_address(mx)))
            .then(|| format!("none of its exchangers has an address: {}", list(&self.exchangers)))
    }

    /// Whether the exchanger's addresses were asked for, and there is none.
    fn is_without_address(&self, mx: &str) -> bool {
        let asked = self.of(mx, &["A", "AAAA"]);
        let none = |l: &&Lookup| {
            matches!(l.error, Some(LookupError::Nxdomain | LookupError::Nodata))
                || l.error.is_none() && l.answers.is_empty()
        };
        !asked.is_empty() && asked.iter().all(none)
    }

    /// The lookups without which nothing could be probed, that failed and were never answered. What
    /// DNSSEC finds bogus is no answer, however often it is given.
    fn faults(&self) -> Vec<&'a Lookup> {
        let needed = ["MX", "A", "AAAA", "TLSA", "DNSKEY", "DS"];
        let never_answered = |l: &&&Lookup| {
            let again = self.of(&host(&l.name), &[&l.rtype]);
            !answers(l) && (l.error == Some(LookupError::Bogus) || !again.iter().any(|l| answers(l)))
        };
        let needs = |l: &&&Lookup| needed.iter().any(|r| l.rtype.eq_ignore_ascii_case(r));
        self.lookups.iter().filter(needs).filter(never_answered).copied().collect()
    }
}

/// The host in an MX record's presentation form, `10 mx.example.`; none in a null MX.
fn exchanger(answer: &str) -> Option<String> {
    let name = host(answer.split_ascii_whitespace().nth(1)?);
    (!name.is_empty()).then_some(name)
}
