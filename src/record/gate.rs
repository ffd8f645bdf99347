//! What a smoke test says: may this source send, and may the campaign start.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CheckName;
use super::time::maybe_millis;
use crate::words::words;

/// The verdict on one source, or on the whole campaign.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gate {
    #[serde(default)]
    pub run: String,
    /// The target; null when only hosts were given.
    #[serde(default)]
    pub domain: Option<String>,
    /// Null for the verdict on the whole campaign, which comes after those on its sources.
    #[serde(default)]
    pub source: Option<IpAddr>,
    pub verdict: Verdict,
    /// The earliest sensible re-check; null where waiting changes nothing, or nothing is to be
    /// waited for.
    #[serde(default, with = "maybe_millis")]
    pub until: Option<Timestamp>,
    /// What stands in the way, the gravest first and in short; null where nothing does.
    #[serde(default)]
    pub reason: Option<String>,
    /// The one thing to do about that.
    #[serde(default)]
    pub fix: Option<String>,
    /// Whether it is not known that the source may not send, but could not be found out either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Of the whole campaign: how many sources may send, and how many it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// Of the whole campaign: the checks that hinder nobody, whatever they found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warn: Vec<CheckName>,
}

words! {
    /// Whether a source may send. The order is from the best to the worst.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Verdict ("verdict") {
        Go = "go",
        /// Not now.
        Hold = "hold",
        /// Not before something is mended.
        NoGo = "no-go",
    }
}

impl Verdict {
    /// The verdict as it is called out: `NO-GO`.
    #[must_use]
    pub fn called(self) -> String {
        self.as_str().to_ascii_uppercase()
    }
}
