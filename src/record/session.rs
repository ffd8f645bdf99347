//! One planned connection, and what came of it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Line;
use super::time::millis;
use crate::smtp::reply::{Class, Code, Enhanced};
use crate::stage::Stage;
use crate::words::words;

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

    /// A `planned` line as a session that was skipped; `None` of any other line.
    #[must_use]
    pub fn from_planned(line: &Line) -> Option<Self> {
        let Line::Planned(fields) = line else { return None };
        let mut fields = fields.clone();
        fields.insert("kind".to_owned(), Kind::Skipped.as_str().into());
        serde_json::from_value(fields.into()).ok()
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
    /// The TLSA record that vouches for the certificate, as a zone file has it. Absent where none
    /// does or none was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dane: Option<String>,
    /// Why none of the TLSA records does. Absent where one does or none was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dane_problem: Option<String>,
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
