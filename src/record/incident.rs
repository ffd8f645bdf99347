//! Trouble that lasts: a diagnosis that holds from round to round of a watch.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::diagnosis::{Confidence, DiagnosisKind};
use super::time::{maybe_millis, millis};
use crate::smtp::reply::Code;
use crate::stage::Stage;
use crate::words::words;

/// One incident: from when to when, what, with whom, and what proves it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Incident {
    /// Counts the incidents of a history from 1; 0 before it is on record.
    pub id: u64,
    /// The domain probed; the hosts where there is none.
    pub domain: String,
    pub kind: DiagnosisKind,
    pub confidence: Confidence,
    pub opened: Between,
    /// Null while it lasts.
    #[serde(default)]
    pub closed: Option<Between>,
    /// How often it came back before it was over: 1 for trouble without a break.
    #[serde(default = "one")]
    pub episodes: u32,
    /// What it is about: the unit is these sources, addresses and backends; all empty: the target.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Where it shows, as the diagnosis has it.
    #[serde(default)]
    pub stage: Option<Stage>,
    #[serde(default)]
    pub code: Option<Code>,
    /// The refusal that is met most often, normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Trials since it opened, and those that failed.
    pub sessions: u64,
    pub failed: u64,
    /// The proof, as the diagnosis over the whole incident has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ruled_out: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// What happened to it, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<IncidentEvent>,
}

/// A moment that lies between two rounds: after the one that was still otherwise, by the one that
/// showed it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Between {
    /// Null where nothing was on record before.
    #[serde(default, with = "maybe_millis")]
    pub after: Option<Timestamp>,
    #[serde(with = "millis")]
    pub by: Timestamp,
}

/// Something that happened to an incident.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IncidentEvent {
    #[serde(with = "millis")]
    pub at: Timestamp,
    pub event: IncidentChange,
    /// From what to what, in words.
    #[serde(default)]
    pub detail: Option<String>,
}

words! {
    /// What can happen to an incident.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum IncidentChange ("incident event") {
        Opened = "opened",
        /// Another diagnosis over the same evidence and more.
        Kind = "kind",
        /// Another reply than before.
        Reply = "reply",
        /// It was quiet, not long enough to be over, and is back.
        Episode = "episode",
        Closed = "closed",
    }
}

const fn one() -> u32 {
    1
}
