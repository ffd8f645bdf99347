//! A recording as it gathers, for the outputs that can only be written at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::record::{
    Check, Diagnosis, Gate, Kind, Line, Lookup, Passed, Report, Reproduction, Role, Run, Session, Summary, Variant,
};
use crate::status::Tally;

/// The lines of a recording, each kind in order.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) runs: Vec<Run>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) checks: Vec<Check>,
    /// As sessions that were skipped.
    pub(crate) planned: Vec<Session>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) passed: Vec<Passed>,
    pub(crate) reports: Vec<Report>,
    pub(crate) reproductions: Vec<Reproduction>,
    pub(crate) diagnoses: Vec<Diagnosis>,
    /// Per target: a verdict for each source, then the whole.
    pub(crate) gates: Vec<Gate>,
    pub(crate) summary: Option<Summary>,
}

/// An exchanger of a target and the addresses it is known to have.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Exchanger<'a> {
    pub(crate) preference: Option<u16>,
    /// None: an address was given, not a name.
    pub(crate) name: Option<&'a str>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Recording {
    pub(crate) fn add(&mut self, line: &Line) {
        match line {
            Line::Run(run) => self.runs.push(run.clone()),
            Line::Lookup(lookup) => self.lookups.push(lookup.clone()),
            Line::Check(check) => self.checks.push(check.clone()),
            Line::Planned(_) => self.planned.extend(Session::from_planned(line)),
            Line::Session(session) => self.sessions.push(Session::clone(session)),
            Line::Passed(passed) => self.passed.push(passed.clone()),
            Line::Report(report) => self.reports.push(Report::clone(report)),
            Line::Reproduction(reproduction) => self.reproductions.push(Reproduction::clone(reproduction)),
            Line::Diagnosis(diagnosis) => self.diagnoses.push(Diagnosis::clone(diagnosis)),
            Line::Gate(gate) => self.gates.push(Gate::clone(gate)),
            Line::Summary(summary) => self.summary = Some(summary.clone()),
            // No run writes one: the outputs of `history` show them.
            Line::Incident(_) => {}
        }
    }

    /// Puts sessions into the order of the plan: they come in the order in which they end, which
    /// is another in each run.
    pub(crate) fn settle(&mut self) {
        self.sessions.sort_by(|a, b| (&a.run, a.seq).cmp(&(&b.run, b.seq)));
        self.planned.sort_by_key(|session| session.seq);
        self.diagnoses.sort_by(|a, b| (&a.run, a.rank).cmp(&(&b.run, b.rank)));
    }

    /// The counts of all sessions.
    pub(crate) fn tally(&self) -> Tally {
        self.sessions.iter().collect()
    }

    /// The domains probed, in order; `None` stands for hosts given by hand.
    pub(crate) fn domains(&self) -> Vec<Option<&str>> {
        let mut domains = Vec::new();
        let named = self.opened().filter(|s| s.role != Role::Control).map(|s| s.domain.as_deref());
        for domain in named.chain(self.passed.iter().map(|p| p.domain.as_deref())) {
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        domains
    }

    /// All sessions, those too that a dry run would open.
    fn opened(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().chain(&self.planned)
    }

    /// A domain's sessions, own and neutral ones.
    pub(crate) fn at<'a>(&'a self, domain: Option<&'a str>) -> impl Iterator<Item = &'a Session> + Clone {
        self.sessions.iter().filter(move |s| s.role != Role::Control && s.domain.as_deref() == domain)
    }

    /// The domains that served as controls.
    pub(crate) fn controls(&self) -> BTreeSet<&str> {
        let controls = self.opened().filter(|s| s.role == Role::Control);
        controls.filter_map(|s| s.domain.as_deref().or(s.mx.as_deref())).collect()
    }

    /// The addresses probed from, own and neutral ones.
    pub(crate) fn sources(&self, neutral: bool) -> BTreeSet<IpAddr> {
        let is_neutral: BTreeSet<_> =
            self.opened().filter(|s| s.role == Role::Neutral).filter_map(|s| s.source).collect();
        if neutral {
            return is_neutral;
        }
        let probed = self.opened().filter_map(|s| s.source);
        probed.chain(self.passed.iter().filter_map(|p| p.source)).filter(|s| !is_neutral.contains(s)).collect()
    }

    /// A domain's exchangers in order of preference, as far as lookups or sessions name them. One
    /// that has no address is among them.
    pub(crate) fn exchangers<'a>(&'a self, domain: Option<&'a str>) -> Vec<Exchanger<'a>> {
        let mut found: BTreeMap<(Option<u16>, Option<&str>), BTreeSet<IpAddr>> = BTreeMap::new();
        let named = self.opened().filter(|s| s.role != Role::Control && s.domain.as_deref() == domain);
        for session in named.filter(|s| s.mx.is_some() || s.address.is_some()) {
            let addresses = found.entry((session.preference, session.mx.as_deref())).or_default();
            addresses.extend(session.address);
        }
        for answer in self.answers(domain, "MX") {
            if let Some((preference, name)) = answer.split_once(' ')
                && let Ok(preference) = preference.parse()
                && !name.trim_end_matches('.').is_empty()
            {
                found.entry((Some(preference), Some(name.trim_end_matches('.')))).or_default();
            }
        }
        for ((_, name), addresses) in &mut found {
            for rtype in ["A", "AAAA"] {
                addresses.extend(self.answers(*name, rtype).filter_map(|answer| answer.parse::<IpAddr>().ok()));
            }
        }
        found.into_iter().map(|((preference, name), addresses)| Exchanger { preference, name, addresses }).collect()
    }

    /// Whether the domain says that it takes no mail (RFC 7505).
    pub(crate) fn null_mx(&self, domain: Option<&str>) -> bool {
        self.answers(domain, "MX").any(|answer| answer.split_once(' ').is_some_and(|(_, name)| name == "."))
    }

    /// Whether sessions of the variants that pair others are among them.
    pub(crate) fn has_pairs(&self) -> bool {
        self.sessions.iter().any(|s| s.variant != Variant::Plain)
    }

    /// Whether a name was asked for in vain.
    pub(crate) fn unresolved(&self, name: &str) -> bool {
        let lookup = self.lookups.iter().any(|l| same_name(&l.name, name) && l.error.is_some());
        lookup || self.sessions.iter().any(|s| s.kind == Kind::DnsFailed && s.mx.as_deref() == Some(name))
    }

    fn answers<'a>(&'a self, name: Option<&'a str>, rtype: &'a str) -> impl Iterator<Item = &'a str> {
        self.lookups
            .iter()
            .filter(move |l| name.is_some_and(|name| same_name(&l.name, name)) && l.rtype == rtype)
            .flat_map(|l| l.answers.iter().map(String::as_str))
    }
}

fn same_name(a: &str, b: &str) -> bool {
    a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'))
}

/// Addresses in few words: `192.0.2.10-13, .20, 2001:db8::1`; what starts with a dot shares all
/// before it with its predecessor.
pub(crate) fn ranges(addresses: impl IntoIterator<Item = IpAddr>) -> String {
    let mut sorted: Vec<IpAddr> = addresses.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut out = Vec::new();
    let mut before = None;
    let mut name = |address: IpAddr| {
        let IpAddr::V4(ip) = address else { return address.to_string() };
        let [a, b, c, d] = ip.octets();
        if before.replace([a, b, c]) == Some([a, b, c]) { format!(".{d}") } else { ip.to_string() }
    };
    let mut rest = &sorted[..];
    while let [first, ..] = *rest {
        let run = rest.windows(2).take_while(|pair| follows(pair[0], pair[1])).count() + 1;
        match (run, rest[run - 1]) {
            (3.., IpAddr::V4(last)) => out.push(format!("{}-{}", name(first), last.octets()[3])),
            _ => out.extend(rest[..run].iter().map(|&address| name(address))),
        }
        rest = &rest[run..];
    }
    out.join(", ")
}

/// Whether an IPv4 address is the next one within the same /24.
fn follows(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            a.octets()[..3] == b.octets()[..3] && a.octets()[3].checked_add(1) == Some(b.octets()[3])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_make_a_range() {
        for (addresses, want) in [
            ("", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.2 192.0.2.1", "192.0.2.1, .2"),
            ("192.0.2.1 192.0.2.3 192.0.2.2 192.0.2.3", "192.0.2.1-3"),
            ("192.0.2.254 192.0.2.255 192.0.3.0 192.0.3.1 192.0.3.2", "192.0.2.254, .255, 192.0.3.0-2"),
            ("192.0.2.1 192.0.2.7 192.0.2.8 192.0.2.9 192.0.20.9", "192.0.2.1, .7-9, 192.0.20.9"),
            ("2001:db8::1 2001:db8::2 2001:db8::3 10.0.0.9", "10.0.0.9, 2001:db8::1, 2001:db8::2, 2001:db8::3"),
        ] {
            assert_eq!(ranges(addresses.split_whitespace().map(|a| a.parse().unwrap())), want);
        }
    }
}
