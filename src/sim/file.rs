//! A scenario file as it is written; what it means is [`super::scenario`]'s.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::certificate::Certificate;
use super::rule::{Choice, Count};
use super::values::{Attempts, Chance, List, Loopback, Net, Span, Text};
use super::zone::DnsAnswer;
use crate::address::Host;
use crate::record::{Confidence, DiagnosisKind};
use crate::stage::Stage;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) seed: u64,
    #[serde(default)]
    pub(super) probe: Probe,
    #[serde(default)]
    pub(super) truth: Vec<Truth>,
    /// Time to live of records that state none, in seconds.
    #[serde(default = "five_minutes")]
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) domains: BTreeMap<Text<Host>, Spanned<Domain>>,
    #[serde(default)]
    pub(super) hosts: BTreeMap<Text<Host>, List<IpAddr>>,
    #[serde(default)]
    pub(super) ptr: BTreeMap<Text<IpAddr>, List<Host>>,
    #[serde(default)]
    pub(super) record: Vec<Record>,
    #[serde(default)]
    pub(super) dns_fault: Vec<DnsFault>,
    /// Addresses of exchangers where nobody listens.
    #[serde(default)]
    pub(super) closed: Vec<Spanned<Text<Loopback>>>,
    #[serde(default)]
    pub(super) balancer: Vec<Balancer>,
    #[serde(default)]
    pub(super) tls: Tls,
    /// What EHLO offers beside STARTTLS.
    pub(super) extensions: Option<Vec<Text<Extension>>>,
    #[serde(default)]
    pub(super) behaviour: BTreeMap<String, Behaviour>,
    #[serde(default)]
    pub(super) rule: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Probe {
    #[serde(default)]
    pub(super) targets: Vec<Text<Host>>,
    #[serde(default)]
    pub(super) sources: Vec<Text<Loopback>>,
    #[serde(default)]
    pub(super) neutral: Vec<Text<Loopback>>,
    #[serde(default)]
    pub(super) control: Vec<Text<Host>>,
    pub(super) until: Option<Stage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Truth {
    pub(super) kind: DiagnosisKind,
    pub(super) confidence: Confidence,
    #[serde(default)]
    pub(super) sources: Vec<IpAddr>,
    #[serde(default)]
    pub(super) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(super) backends: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Domain {
    #[serde(default)]
    pub(super) mx: Vec<Exchanger>,
    #[serde(default)]
    pub(super) null_mx: bool,
    /// Addresses of the domain itself; without an MX, its implicit one (RFC 5321, section 5.1).
    #[serde(default)]
    pub(super) addresses: List<Loopback>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Exchanger {
    pub(super) preference: u16,
    pub(super) host: Text<Host>,
    #[serde(default)]
    pub(super) addresses: List<Loopback>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Record {
    pub(super) name: Text<Host>,
    #[serde(rename = "type")]
    pub(super) rtype: Spanned<String>,
    /// Of a TXT record: its character strings.
    pub(super) value: Spanned<List<String>>,
    pub(super) ttl: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct DnsFault {
    pub(super) name: Text<Host>,
    /// Absent: whatever is asked about the name.
    pub(super) rtype: Option<Spanned<String>>,
    pub(super) answer: DnsAnswer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Balancer {
    pub(super) address: List<Loopback>,
    pub(super) backends: Vec<Text<Host>>,
    #[serde(default)]
    pub(super) choose: Choice,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tls {
    #[serde(default)]
    pub(super) certificate: Certificate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Behaviour {
    pub(super) dialog: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) address: List<Net>,
    #[serde(default)]
    pub(super) source: List<Net>,
    #[serde(default)]
    pub(super) mx: List<Host>,
    #[serde(default)]
    pub(super) backend: List<Host>,
    pub(super) attempts: Option<Text<Attempts>>,
    #[serde(default)]
    pub(super) count: Count,
    pub(super) chance: Option<Chance>,
    pub(super) from: Option<Text<Span>>,
    pub(super) until: Option<Text<Span>>,
    pub(super) behaviour: Spanned<String>,
}

/// A line of an EHLO reply.
#[derive(Debug)]
pub(super) struct Extension(pub(super) String);

impl std::str::FromStr for Extension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.len() <= 500 && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no extension: wanted a keyword and its parameters, such as SIZE 10240000"))
        }
    }
}

const fn five_minutes() -> u32 {
    300
}
