//! From a group of reports to what will be asked of the provider: which domain, how deep, from
//! where, how often, and why not more.

use std::net::IpAddr;
use std::time::Duration;

use super::depth::{Depth, Leave, depth};
use super::group::Group;
use crate::address::{Host, Mailbox};
use crate::judge::statistics::sample_size;
use crate::plan::Sample;
use crate::probe::HostSpec;
use crate::probe::layer::ProbeLayer;
use crate::smtp::session::TlsLevel;
use crate::source::{self, SourceSpec};
use crate::stage::Stage;

/// How long all samples together take at most, where the operator does not say.
pub const MAX_TIME: Duration = Duration::from_mins(10);

/// What the operator says, and what this host has.
#[derive(Clone, Debug)]
pub struct Means {
    /// The command line.
    pub flags: ProbeLayer,
    /// A probe file or a domain, for reports that name none.
    pub target: ProbeLayer,
    /// This host's interfaces, a pair per address.
    pub interfaces: Vec<(String, IpAddr)>,
    /// The names are the operator's own to answer: they gave a resolver.
    pub resolver_given: bool,
    /// The rate to exclude, above 0 and at most 1.
    pub rate: f64,
}

/// One group's question, ready to be settled and asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub group: Group,
    pub layer: ProbeLayer,
    pub sample: Sample,
    /// How deep the sessions go.
    pub until: Stage,
    pub(super) depth: Depth,
    pub(super) rate: f64,
    pub(super) domain: Option<Host>,
    /// The reported source, where it is one of this host's.
    pub(super) reported_source: bool,
    /// What the report names and this host does not have, or what was left aside.
    pub(super) left_aside: Vec<String>,
}

/// Why a group's question cannot be asked at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "report {report} names no recipient with a domain, so there is nothing to probe: wanted a TARGET, --to ADDR or --host NAME|IP"
)]
pub struct NoTarget {
    pub report: u64,
}

/// Plans the least intrusive probe that answers the group's question; `share` is the part of the
/// time that it may take, one of so many.
///
/// # Errors
///
/// Neither the report nor the operator names a domain or a host.
pub fn question(group: Group, means: &Means, share: u32) -> Result<Question, NoTarget> {
    let report = &group.report;
    let stated = report.domain.as_deref().and_then(domain);
    let written = means.flags.to.first().map(|to| to.domain().clone());
    let domain = stated.clone().or_else(|| written.filter(|_| means.target.domain.is_none()));
    let mut layer = ProbeLayer { domain, ..means.flags.clone() }.over(means.target.clone());
    if layer.domain.is_none() && layer.hosts.is_empty() {
        return Err(NoTarget { report: report.seq });
    }
    let mut left_aside = Vec::new();

    let recipients = recipients(&group, &layer, stated.as_ref());
    let leave = Leave {
        recipient: !recipients.is_empty(),
        send: layer.send == Some(true),
        tls: layer.tls != Some(TlsLevel::Off),
        until: means.flags.until,
    };
    let depth = depth(report, leave);
    // A recipient that is not owned is refused whatever the depth, so it stays where it was given.
    layer.to = if recipients.is_empty() && means.flags.until.is_some() { layer.to } else { recipients };
    let whole = depth.until == Stage::EndOfData && leave.send;
    (layer.until, layer.send) =
        (Some(depth.until), if depth.until == Stage::EndOfData { layer.send } else { Some(false) });
    layer.body = layer.body.filter(|_| whole);
    layer.expect = None;
    layer.limits.attempts = Some(1);
    // One at a time, or one more would be under way when enough is known.
    layer.limits.per_provider.get_or_insert(1);

    let own = sources(&group, &layer, &means.interfaces);
    let reported_source = !own.is_empty();
    if reported_source {
        layer.sources = own.into_iter().map(SourceSpec::Address).collect();
    } else if !group.sources.is_empty() {
        let sources: Vec<String> = group.sources.iter().map(ToString::to_string).collect();
        left_aside.push(format!("from {}: reported, and not on this host", sources.join(", ")));
    }

    let time = *layer.limits.max_time.get_or_insert(MAX_TIME);
    let named_by_operator =
        stated.is_none() || means.resolver_given || layer.own_mx == Some(true) || !layer.hosts.is_empty();
    let per_cell = if depth.short.is_some() { Some(1) } else { means.flags.limits.attempts };
    let sample = Sample {
        sessions: sample_size(means.rate),
        per_cell,
        time: Some(time / share.max(1)),
        first: group.hosts.iter().filter_map(|host| host.parse().ok()).collect(),
        public_only: !named_by_operator,
    };
    let domain = layer.domain.clone();
    Ok(Question {
        until: depth.until,
        rate: means.rate,
        group,
        layer,
        sample,
        depth,
        domain,
        reported_source,
        left_aside,
    })
}

/// A domain that can be looked up: an address literal is none.
fn domain(text: &str) -> Option<Host> {
    match text.parse() {
        Ok(HostSpec::Name(host)) => Some(host),
        _ => None,
    }
}

/// The reported recipient, where the operator owns it, else those given that are at its domain.
fn recipients(group: &Group, layer: &ProbeLayer, domain: Option<&Host>) -> Vec<Mailbox> {
    let reported = group.report.recipient.as_deref().and_then(|to| to.parse::<Mailbox>().ok());
    if let Some(reported) = reported.filter(|to| layer.owned.contains(to)) {
        return vec![reported];
    }
    let there = |to: &&Mailbox| domain.is_none_or(|domain| to.domain().as_str().eq_ignore_ascii_case(domain.as_str()));
    layer.to.iter().filter(there).cloned().collect()
}

/// The reported sources that this host can speak from. A loopback address is everybody's, and
/// counts only where the operator names it too.
fn sources(group: &Group, layer: &ProbeLayer, interfaces: &[(String, IpAddr)]) -> Vec<IpAddr> {
    let given = source::expand(&layer.sources, interfaces).unwrap_or_default();
    let behind = |seen: IpAddr| layer.public.iter().find(|(_, public)| **public == seen).map_or(seen, |(own, _)| *own);
    let here = |ip: &IpAddr| given.contains(ip) || !ip.is_loopback() && interfaces.iter().any(|(_, own)| own == ip);
    group.sources.iter().map(|ip| behind(*ip)).filter(here).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Report;

    fn group(json: serde_json::Value) -> Group {
        let report: Report = serde_json::from_value(json).unwrap();
        let (sources, hosts) = (report.source.into_iter().collect(), report.mx.clone().into_iter().collect());
        Group { report, reports: 1, sources, hosts }
    }

    fn means(flags: ProbeLayer) -> Means {
        let interfaces = vec![("eth0".to_owned(), [192, 0, 2, 10].into()), ("lo".to_owned(), [127, 0, 0, 1].into())];
        Means { flags, target: ProbeLayer::default(), interfaces, resolver_given: false, rate: 0.1 }
    }

    fn mailboxes(list: &[&str]) -> Vec<Mailbox> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_domain_is_the_recipients_then_the_operators() {
        let named = serde_json::json!({"seq": 3, "domain": "aol.com", "recipient": "a@aol.com", "stage": "banner", "mx": "evil.example", "address": "10.0.0.1"});
        let literal = serde_json::json!({"seq": 3, "domain": "10.0.0.1", "recipient": "a@[10.0.0.1]"});
        let to = ProbeLayer {
            to: mailboxes(&["me@b.example"]),
            owned: mailboxes(&["me@b.example"]),
            ..ProbeLayer::default()
        };
        let host = ProbeLayer { hosts: vec!["192.0.2.99".parse().unwrap()], ..ProbeLayer::default() };
        for (report, flags, wanted) in [
            (&named, ProbeLayer::default(), Some("aol.com")),
            (&named, to.clone(), Some("aol.com")),
            (&literal, to, Some("b.example")),
            (&literal, host, None),
        ] {
            let question = question(group(report.clone()), &means(flags.clone()), 1).unwrap();
            assert_eq!(question.layer.domain.as_ref().map(Host::as_str), wanted);
            assert_eq!(question.layer.hosts, flags.hosts, "no host that only the report names");
            question.layer.settle(|_| panic!("nothing to read")).unwrap();
        }
        let error = question(group(literal.clone()), &means(ProbeLayer::default()), 1).unwrap_err();
        assert!(error.to_string().starts_with("report 3 names no recipient"), "{error}");
        let mut with_target = means(ProbeLayer::default());
        with_target.target =
            ProbeLayer { domain: Some("c.example".parse().unwrap()), hosts: vec![], ..ProbeLayer::default() };
        let asked = question(group(literal), &with_target, 1).unwrap();
        assert_eq!(asked.layer.domain.unwrap().as_str(), "c.example");
    }

    #[test]
    fn a_recipient_is_only_ever_an_owned_one() {
        let report =
            serde_json::json!({"domain": "aol.com", "recipient": "a@aol.com", "stage": "rcpt", "kind": "rejected"});
        let layer = |to: &[&str], owned: &[&str]| ProbeLayer {
            to: mailboxes(to),
            owned: mailboxes(owned),
            ..ProbeLayer::default()
        };
        for (flags, until, to) in [
            (layer(&[], &[]), Stage::Mail, vec![]),
            (layer(&[], &["a@aol.com"]), Stage::Rcpt, mailboxes(&["a@aol.com"])),
            (layer(&["b@aol.com"], &["b@aol.com"]), Stage::Rcpt, mailboxes(&["b@aol.com"])),
            (layer(&["b@b.example"], &["b@b.example"]), Stage::Mail, vec![]),
        ] {
            let question = question(group(report.clone()), &means(flags), 1).unwrap();
            assert_eq!((question.until, question.sample.per_cell.is_some()), (until, until == Stage::Mail));
            assert_eq!(question.layer.settle(|_| panic!("nothing to read")).unwrap().envelope.to, to);
        }
        let stranger = question(group(report), &means(layer(&["b@aol.com"], &[])), 1).unwrap();
        assert!(stranger.layer.settle(|_| panic!("nothing to read")).is_err());
    }

    #[test]
    fn the_reported_source_comes_first_where_it_is_ours() {
        let given = ProbeLayer { sources: vec!["127.0.0.11".parse().unwrap()], ..ProbeLayer::default() };
        let nat = ProbeLayer {
            public: [([10, 0, 0, 5].into(), [203, 0, 113, 5].into())].into(),
            sources: vec!["10.0.0.5".parse().unwrap()],
            ..ProbeLayer::default()
        };
        for (source, flags, wanted, reported) in [
            ("192.0.2.10", given.clone(), "192.0.2.10", true),
            ("192.0.2.11", given.clone(), "127.0.0.11", false),
            ("127.0.0.1", given.clone(), "127.0.0.11", false),
            ("127.0.0.11", given, "127.0.0.11", true),
            ("203.0.113.5", nat, "10.0.0.5", true),
        ] {
            let report = serde_json::json!({"domain": "aol.com", "stage": "banner", "source": source});
            let question = question(group(report), &means(flags), 1).unwrap();
            assert_eq!(question.layer.sources, [wanted.parse().unwrap()]);
            assert_eq!((question.reported_source, question.left_aside.is_empty()), (reported, reported));
        }
    }

    #[test]
    fn the_sample_is_as_large_as_the_rate_wants_and_the_time_allows() {
        let report = serde_json::json!({"domain": "aol.com", "stage": "banner", "mx": "mx.aol.com"});
        let asked = question(group(report.clone()), &means(ProbeLayer::default()), 4).unwrap();
        assert_eq!((asked.sample.sessions, asked.sample.time), (29, Some(MAX_TIME / 4)));
        assert_eq!(asked.sample.first, ["mx.aol.com".parse().unwrap()]);
        assert!(asked.sample.public_only);
        let asked =
            question(group(report), &Means { rate: 0.01, resolver_given: true, ..means(ProbeLayer::default()) }, 1);
        let sample = asked.unwrap().sample;
        assert_eq!((sample.sessions, sample.public_only), (299, false));
    }
}
