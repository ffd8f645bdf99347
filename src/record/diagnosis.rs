//! What is wrong, with whom, and how sure that is.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::smtp::reply::Code;
use crate::stage::Stage;
use crate::words::words;

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
