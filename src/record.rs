//! The JSON lines: what a run writes and what the judge, `diff` and others read.
//!
//! These types are the contract's. A record is evidence: it names what was asked, what came back
//! and how long it took. `null` means "does not apply"; an absent field was not reached or not
//! measured; neither is ever written as zero.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::smtp::fault::LookupError;
use crate::smtp::reply::{Class, Code, Enhanced};
use crate::stage::Stage;
use crate::words::words;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    /// What was run: the first line of each run.
    Run(Run),
    /// One DNS question and its answer.
    Lookup(Lookup),
    /// One check of ourselves or of them.
    Check(Check),
    /// One planned connection of a dry run: a session's fields up to `until`.
    Planned(serde_json::Map<String, serde_json::Value>),
    /// One planned connection and what came of it.
    Session(Box<Session>),
    /// Deliveries that went through, counted (imported logs).
    Passed(Passed),
    /// One error read from a bounce, a log or a pasted text.
    Report(Box<Report>),
    /// Whether a reported error could be reproduced.
    Reproduction(Box<Reproduction>),
    /// One diagnosis.
    Diagnosis(Box<Diagnosis>),
    /// The counts of a run: its last line.
    Summary(Summary),
}

impl Line {
    /// Reads one line. A type that this version does not know is `Ok(None)`, so that older
    /// programs read newer files.
    ///
    /// # Errors
    ///
    /// What serde found wrong with the line.
    pub fn parse(text: &str) -> Result<Option<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        Ok(Some(match &*serde_json::from_str::<Head<'_>>(text)?.kind {
            "run" => Self::Run(serde_json::from_str(text)?),
            "lookup" => Self::Lookup(serde_json::from_str(text)?),
            "check" => Self::Check(serde_json::from_str(text)?),
            "planned" => {
                let mut fields: serde_json::Map<_, _> = serde_json::from_str(text)?;
                // The variant's own tag; kept, it would be written twice.
                fields.shift_remove("type");
                Self::Planned(fields)
            }
            "session" => Self::Session(serde_json::from_str(text)?),
            "passed" => Self::Passed(serde_json::from_str(text)?),
            "report" => Self::Report(serde_json::from_str(text)?),
            "reproduction" => Self::Reproduction(serde_json::from_str(text)?),
            "diagnosis" => Self::Diagnosis(serde_json::from_str(text)?),
            "summary" => Self::Summary(serde_json::from_str(text)?),
            _ => return Ok(None),
        }))
    }
}

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
    /// The source it is about; null for checks of the target.
    #[serde(default)]
    pub source: Option<IpAddr>,
    pub check: CheckName,
    pub result: CheckResult,
    #[serde(default)]
    pub detail: Option<String>,
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

/// One planned connection from one source address to one MX address, and what came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Session {
    #[serde(default)]
    pub run: String,
    /// Counts a run's sessions from 1, without gaps.
    pub seq: u64,
    /// Counts a cell's attempts from 1.
    #[serde(default = "one")]
    pub attempt: u32,
    /// When it began; of a planned session, when it would.
    #[serde(with = "millis")]
    pub at: Timestamp,
    #[serde(default)]
    pub role: Role,
    /// The domain probed; null when only hosts were given.
    #[serde(default)]
    pub domain: Option<String>,
    /// The exchanger's name; null when an address was given.
    #[serde(default)]
    pub mx: Option<String>,
    /// Null when there was no MX record.
    #[serde(default)]
    pub preference: Option<u16>,
    /// Absent when the exchanger did not resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default = "smtp_port")]
    pub port: u16,
    /// The name the server gives itself, where it looks like a host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The greeting's raw lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banner: Option<Vec<String>>,
    #[serde(default)]
    pub variant: Variant,
    /// The address spoken from; absent when nothing was to be spoken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The address the other side is said to see (`--public`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ehlo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default)]
    pub to: Option<String>,
    #[serde(default = "mail")]
    pub until: Stage,
    /// Where the session ended; absent when it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    pub kind: Kind,
    /// The code of the reply that ended the session; null when none did.
    #[serde(default)]
    pub code: Option<Code>,
    #[serde(default)]
    pub enhanced: Option<Enhanced>,
    /// The provider's own code, `TSS04`.
    #[serde(default)]
    pub tag: Option<String>,
    /// By code: `transient` or `permanent`; null when nothing was refused.
    #[serde(default)]
    pub class: Option<Class>,
    /// What the words say, where they say anything.
    #[serde(default)]
    pub text_class: Option<Class>,
    /// The raw lines of the reply that ended the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Vec<String>>,
    /// The bytes of the same, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_base64: Option<Vec<String>>,
    /// Replies that nobody asked for, in order, a raw line each.
    #[serde(default)]
    pub also: Vec<String>,
    #[serde(default)]
    pub notes: Vec<String>,
    /// What went wrong where no reply says it.
    #[serde(default)]
    pub detail: Option<String>,
    /// Whether the probe's author expects this ending.
    #[serde(default)]
    pub expected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What the last EHLO reply offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    #[serde(default)]
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<f64>,
}

impl Session {
    /// The `planned` line of a session that was not run: its fields up to `until`.
    #[must_use]
    pub fn planned(&self) -> Line {
        const LATER: [&str; 12] = [
            "stage",
            "kind",
            "code",
            "enhanced",
            "tag",
            "class",
            "text-class",
            "also",
            "notes",
            "detail",
            "expected",
            "steps",
        ];
        let serde_json::Value::Object(mut fields) = serde_json::json!(self) else {
            return Line::Planned(serde_json::Map::new());
        };
        fields.retain(|name, _| !LATER.contains(&name.as_str()));
        Line::Planned(fields)
    }
}

/// One stage of a session as it went.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    pub stage: Stage,
    /// How long the stage took, in milliseconds.
    pub ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: Option<String>,
    pub cipher: Option<String>,
    /// Whether chain, dates and name all held.
    pub verified: bool,
    /// Why not.
    pub problem: Option<String>,
    /// The leaf's DNS names, as the certificate writes them.
    pub names: Vec<String>,
    pub issuer: Option<String>,
    #[serde(serialize_with = "seconds")]
    pub not_after: Option<Timestamp>,
    /// The chain as sent: subject and issuer of each certificate, the leaf first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

words! {
    /// What the other side, or we, did at a session's last stage.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Kind ("ending kind") {
        /// Every stage up to `until` passed.
        Completed = "completed",
        /// A 4yz or 5yz reply.
        Rejected = "rejected",
        /// Closed or reset without a reply to what was asked.
        Dropped = "dropped",
        /// The stage's time ran out.
        TimedOut = "timed-out",
        /// TCP said no (RST).
        Refused = "refused",
        /// The network said no (ICMP, no route there).
        Unreachable = "unreachable",
        /// The TLS handshake failed.
        TlsFailed = "tls-failed",
        /// What came was not SMTP.
        Malformed = "malformed",
        /// The name did not resolve.
        DnsFailed = "dns-failed",
        /// Our own fault.
        Local = "local",
        /// Never started: budget, rest, cancelled.
        Skipped = "skipped",
    }
}

impl Kind {
    /// Whether the session says anything about the other side.
    #[must_use]
    pub const fn is_trial(self) -> bool {
        !matches!(self, Self::Local | Self::Skipped)
    }
}

words! {
    /// What a session is for.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Role ("role") {
        /// One of our sources at the target.
        #[default]
        Target = "target",
        /// Any source at another provider.
        Control = "control",
        /// A source of unrelated reputation at the target.
        Neutral = "neutral",
    }
}

words! {
    /// What tells paired sessions apart.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Variant ("variant") {
        #[default]
        Plain = "plain",
        /// No STARTTLS: the pair of a session whose handshake failed.
        Plaintext = "plaintext",
        /// Another envelope sender.
        NeutralFrom = "neutral-from",
        /// A plain message instead of the campaign's.
        ControlMessage = "control-message",
        /// The campaign's own envelope or message.
        Campaign = "campaign",
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

/// One error as read from a bounce, a log or a pasted text. Null means "not stated".
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Report {
    pub seq: u64,
    /// The name given, `-` for standard input.
    pub file: String,
    pub line: Option<u64>,
    /// `dsn`, `log` or `text`.
    pub format: String,
    /// Who wrote the report, `postfix`.
    pub mta: Option<String>,
    /// Null where the words leave it open.
    pub stage: Option<Stage>,
    /// What the words allow, where `stage` is null.
    pub candidates: Vec<Stage>,
    pub stage_why: Option<String>,
    pub kind: Option<Kind>,
    pub code: Option<Code>,
    pub enhanced: Option<Enhanced>,
    pub tag: Option<String>,
    pub reply: Option<String>,
    pub class: Option<Class>,
    pub text_class: Option<Class>,
    /// The DSN's `Action`.
    pub action: Option<String>,
    /// The DSN's `Status`.
    pub status: Option<String>,
    /// qmail's own `(#x.y.z)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_status: Option<String>,
    pub recipient: Option<String>,
    pub domain: Option<String>,
    /// The host that replied.
    pub mx: Option<String>,
    pub address: Option<IpAddr>,
    /// The address the reporting host spoke from.
    pub source: Option<IpAddr>,
    /// The client address that the reply itself quotes.
    pub quoted_source: Option<IpAddr>,
    pub local_host: Option<String>,
    #[serde(serialize_with = "optional_millis")]
    pub at: Option<Timestamp>,
    /// `remote` or `local`: who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Where one reply quotes another: the one inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_reply: Option<String>,
    /// The words that the reading rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// False: the line repeats an earlier result and is no trial.
    pub attempt: bool,
    pub notes: Vec<String>,
}

/// Whether a reported error could be reproduced.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reproduction {
    pub report: u64,
    /// `reproduced`, `different`, `not-reproduced` or `undecided`.
    pub result: String,
    pub sessions: u64,
    pub same: u64,
    pub different: u64,
    pub rate_low: f64,
    pub rate_high: f64,
    pub detectable_rate: Option<f64>,
    pub not_tested: Vec<String>,
    pub sources: Vec<IpAddr>,
}

/// One diagnosis, in rank order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnosis {
    #[serde(default)]
    pub run: String,
    pub rank: u32,
    pub kind: DiagnosisKind,
    pub confidence: Confidence,
    /// The sources it is about; empty when it is about none in particular.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub backends: Vec<String>,
    #[serde(default)]
    pub stage: Option<Stage>,
    #[serde(default)]
    pub code: Option<Code>,
    /// Trials of the group that failed, and all of them.
    #[serde(default)]
    pub failed: u64,
    #[serde(default)]
    pub tried: u64,
    #[serde(default)]
    pub elsewhere: Elsewhere,
    #[serde(default)]
    pub p: Option<f64>,
    #[serde(default)]
    pub leaning: Option<DiagnosisKind>,
    #[serde(default)]
    pub candidates: Vec<DiagnosisKind>,
    #[serde(default)]
    pub windows: u32,
    #[serde(default)]
    pub because: Vec<String>,
    #[serde(default)]
    pub would_raise: Vec<String>,
    #[serde(default)]
    pub advice: String,
    /// What the evidence speaks against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ruled_out: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The trials outside a diagnosis's group.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Elsewhere {
    pub failed: u64,
    pub tried: u64,
}

words! {
    /// What is wrong, and with whom. The order is the judge's table's.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum DiagnosisKind ("diagnosis kind") {
        LocalConfig = "local-config",
        LocalDns = "local-dns",
        BadTarget = "bad-target",
        ReceiverDnsFault = "receiver-dns-fault",
        EgressBlocked = "egress-blocked",
        Port25Interception = "port25-interception",
        EgressMismatch = "egress-mismatch",
        TlsFault = "tls-fault",
        Recipient = "recipient",
        EnvelopeDomain = "envelope-domain",
        ContentPolicy = "content-policy",
        Greylisting = "greylisting",
        AuthOrFcrdns = "auth-or-fcrdns",
        RateLimited = "rate-limited",
        PerConnectionCap = "per-connection-cap",
        Ipv6Only = "ipv6-only",
        SenderIpBlock = "sender-ip-block",
        SenderPoolBlock = "sender-pool-block",
        ReceiverOutage = "receiver-outage",
        ReceiverPartialOutage = "receiver-partial-outage",
        ReceiverIntermittent = "receiver-intermittent",
        Undecided = "undecided",
        Healthy = "healthy",
    }
}

words! {
    /// How sure a diagnosis is. The order is from the least to the most.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Confidence ("confidence") {
        Low = "low",
        Medium = "medium",
        High = "high",
        /// A fact, not an inference.
        Certain = "certain",
    }
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
    pub elapsed_ms: f64,
    pub exit: u8,
}

/// A duration in milliseconds, to the microsecond.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a duration of 2^52 us is 142 years")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}

/// A time as the lines have it, to the millisecond: what is judged while a run goes on must be what
/// is on record of it, or the record would be judged otherwise.
#[must_use]
pub fn stamp(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Timestamps to the millisecond.
mod millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn optional_millis<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis::serialize(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn seconds<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&format_args!("{at:.0}")),
        None => serializer.serialize_none(),
    }
}

const fn one() -> u32 {
    1
}

const fn smtp_port() -> u16 {
    25
}

const fn mail() -> Stage {
    Stage::Mail
}
