//! What a run writes beside its sessions: its head, lookups, checks, what passed, its counts.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::millis;
use crate::smtp::fault::LookupError;
use crate::stage::Stage;
use crate::words::words;

/// The head of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// The version of these lines: 1.
    pub schema: u32,
    /// The run's id, a UUID of version 7.
    pub run: String,
    /// When it began.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The version of the program.
    pub version: String,
    /// The domains or hosts probed.
    pub targets: Vec<String>,
    /// The addresses probed from, neutral ones included.
    pub sources: Vec<IpAddr>,
    /// The last stage entered.
    pub until: Stage,
    /// What order and jitter came from.
    pub seed: u64,
    /// Whether the provider was simulated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// One DNS question and its answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lookup {
    #[serde(default)]
    pub run: String,
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The name asked for.
    pub name: String,
    /// `MX`, `A`, `AAAA`, `PTR`, `TXT`, `TLSA`.
    pub rtype: String,
    /// The server that was asked, `address:port`.
    pub resolver: String,
    /// The answers in presentation form, `10 mx.example`.
    pub answers: Vec<String>,
    pub error: Option<LookupError>,
    /// How long the answer took, in milliseconds.
    pub ms: f64,
}

/// One check of ourselves or of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    #[serde(default)]
    pub run: String,
    /// The target for whose sake it was made; absent where the recording does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The source it is about; null for checks that hold for all sources, and for those of the
    /// target.
    #[serde(default)]
    pub source: Option<IpAddr>,
    pub check: CheckName,
    pub result: CheckResult,
    /// What was found, in words.
    #[serde(default)]
    pub detail: Option<String>,
    /// The one thing to do about it, where something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// A check that holds for all sources.
    #[must_use]
    pub fn new(check: CheckName, result: CheckResult, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into()).filter(|detail| !detail.is_empty());
        Self { run: String::new(), domain: None, source: None, check, result, detail, fix: None }
    }

    /// The same, of one source.
    #[must_use]
    pub fn of(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

words! {
    /// What is checked.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum CheckName ("check") {
        Bound = "bound",
        Ptr = "ptr",
        Fcrdns = "fcrdns",
        EhloName = "ehlo-name",
        Spf = "spf",
        Dkim = "dkim",
        Dmarc = "dmarc",
        Mx = "mx",
        Dnsbl = "dnsbl",
        MtaSts = "mta-sts",
        Dane = "dane",
        TlsRpt = "tls-rpt",
        StartTls = "starttls",
        Message = "message",
    }
}

impl CheckName {
    /// The checks of ourselves that every smoke test makes.
    pub const OURS: [Self; 8] =
        [Self::Bound, Self::Ptr, Self::Fcrdns, Self::EhloName, Self::Spf, Self::Dkim, Self::Dmarc, Self::Mx];
}

words! {
    /// What a check found.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum CheckResult ("check result") {
        Pass = "pass",
        Warn = "warn",
        Fail = "fail",
        Unknown = "unknown",
    }
}

/// Deliveries that went through from one source to one address, counted (imported logs).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Passed {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    #[serde(default)]
    pub source: Option<IpAddr>,
    #[serde(default)]
    pub address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<String>,
    #[serde(with = "millis")]
    pub from_time: Timestamp,
    #[serde(with = "millis")]
    pub to_time: Timestamp,
    pub count: u64,
}

/// The counts of a run, controls and neutral sessions included.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    #[serde(default)]
    pub run: String,
    pub sessions: u64,
    pub completed: u64,
    pub failed: u64,
    pub local: u64,
    pub skipped: u64,
    /// Absent where nothing was run: a recording that is judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<f64>,
    pub exit: u8,
}
