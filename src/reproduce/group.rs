//! Reports that say the same, put together: the same domain, stage and normalised reply.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::catalog::normalise;
use crate::record::Report;

/// More different errors than these are counted and not kept.
const MOST_GROUPS: usize = 10_000;
/// More sources than these are not kept of one group.
const MOST_SOURCES: usize = 64;

/// Reports that say the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The first of them.
    pub report: Report,
    pub reports: u64,
    /// The addresses that the reporting hosts spoke from, as far as stated.
    pub sources: BTreeSet<IpAddr>,
    /// The hosts that replied, by name and by address, as far as stated.
    pub hosts: BTreeSet<String>,
}

/// Takes reports in, in bounded memory.
#[derive(Debug, Default)]
pub struct Groups {
    /// Where a report that names no domain is asked about.
    elsewhere: Option<String>,
    found: Vec<Group>,
    known: HashMap<String, usize>,
    left_out: u64,
}

impl Groups {
    /// Of reports that are about this domain where they name none.
    #[must_use]
    pub fn about(domain: Option<String>) -> Self {
        Self { elsewhere: domain, ..Self::default() }
    }

    /// Takes in one report.
    pub fn add(&mut self, report: Report) {
        let key = key(&report, self.elsewhere.as_deref());
        let at = match self.known.get(&key) {
            Some(&at) => at,
            None if self.found.len() >= MOST_GROUPS => {
                self.left_out += 1;
                return;
            }
            None => {
                self.known.insert(key, self.found.len());
                let (sources, hosts) = (BTreeSet::new(), BTreeSet::new());
                self.found.push(Group { report: report.clone(), reports: 0, sources, hosts });
                self.found.len() - 1
            }
        };
        let group = &mut self.found[at];
        group.reports += 1;
        if group.sources.len() < MOST_SOURCES {
            group.sources.extend(report.source.or(report.quoted_source));
        }
        if group.hosts.len() < MOST_SOURCES {
            group.hosts.extend(report.mx.into_iter().chain(report.address.map(|address| address.to_string())));
        }
    }

    /// The groups, most frequent first, and how many reports belong to none of them.
    #[must_use]
    pub fn ranked(self) -> (Vec<Group>, u64) {
        let mut groups = self.found;
        groups.sort_by_key(|group| std::cmp::Reverse(group.reports));
        (groups, self.left_out)
    }
}

fn key(report: &Report, elsewhere: Option<&str>) -> String {
    let domain = report.domain.as_deref().or(elsewhere).unwrap_or_default().to_ascii_lowercase();
    let reply = report.inner_reply.as_deref().or(report.reply.as_deref()).map(normalise);
    let stage = report.stage.map_or("", |stage| stage.as_str());
    let what = reply.unwrap_or_else(|| format!("{:?} {:?} {:?}", report.kind, report.code, report.tag));
    format!("{domain}\n{stage}\n{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_most_comes_first() {
        let mut groups = Groups::default();
        for (seq, (domain, stage, reply)) in [
            ("a.example", "mail", "421 4.7.0 [TSS04] Messages from 192.0.2.10 deferred"),
            ("b.example", "banner", "554 mx1.b.example ESMTP not accepting connections"),
            ("B.example", "banner", "554 mx2.b.example ESMTP not accepting connections"),
            ("b.example", "ehlo", "554 mx2.b.example ESMTP not accepting connections"),
            ("a.example", "mail", "421 4.7.0 [TSS05] Messages from 192.0.2.10 deferred"),
            ("b.example", "banner", "554 mx1.b.example ESMTP not accepting connections"),
            ("a.example", "mail", "421 4.7.0 [TSS04] Messages from 192.0.2.99 deferred"),
        ]
        .into_iter()
        .enumerate()
        {
            let seq = seq as u64 + 1;
            let (domain, reply) = (Some(domain.to_owned()), Some(reply.to_owned()));
            let quoted_source = (seq == 7).then(|| IpAddr::from([192, 0, 2, 99]));
            let stage = Some(stage.parse().unwrap());
            groups.add(Report { seq, stage, reply, domain, quoted_source, ..Report::default() });
        }
        let (ranked, left_out) = groups.ranked();
        let shown: Vec<_> = ranked.iter().map(|group| (group.report.seq, group.reports)).collect();
        assert_eq!(shown, [(2, 3), (1, 2), (4, 1), (5, 1)]);
        assert_eq!((ranked[1].sources.len(), left_out), (1, 0));
    }

    #[test]
    fn a_report_without_a_domain_is_about_the_operators() {
        let words = |domain: Option<&str>| Report {
            reply: Some("421 4.7.1 : (DYN:T1)".to_owned()),
            domain: domain.map(str::to_owned),
            ..Report::default()
        };
        for (given, wanted) in [(None, 3), (Some("aol.com"), 2)] {
            let mut groups = Groups::about(given.map(str::to_owned));
            for domain in [None, Some("aol.com"), Some("b.example")] {
                groups.add(words(domain));
            }
            assert_eq!(groups.ranked().0.len(), wanted, "{given:?}");
        }
    }
}
