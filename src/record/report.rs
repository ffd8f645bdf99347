//! An error as somebody reported it, and whether it could be seen again.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::time::millis;
use crate::smtp::reply::{Class, Code, Enhanced};
use crate::stage::Stage;
use crate::words::words;

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
    /// Whose words the catalogue knows them for: a provider or a server software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whose matter it is, by the catalogue: `sender-ip-reputation`, `receiver-outage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What it means, by the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Where that is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
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
    /// The number of the report, the first one where several say the same.
    pub report: u64,
    /// How many reports say the same.
    #[serde(default = "one")]
    pub reports: u64,
    pub result: Finding,
    /// Sessions that say something about the other side.
    pub sessions: u64,
    /// Those that ended as reported.
    pub same: u64,
    /// Those that failed in another way.
    pub different: u64,
    /// The 95 % interval of the rate at which the reported failure shows.
    pub rate_low: f64,
    pub rate_high: f64,
    /// The least rate that would have shown at 95 %; null where the failure did show.
    pub detectable_rate: Option<f64>,
    pub not_tested: Vec<String>,
    /// The sources that the sessions came from.
    pub sources: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The stage of the report, as far as it states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// How deep the sessions went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Stage>,
    /// What was planned, and why not more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// The addresses where the reported failure showed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The other failures, most frequent first: what, and how often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Why nothing was decided, or how far what was is sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Sessions at other providers: how many passed, of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<(u64, u64)>,
    /// Where the mail is now, as far as the report says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

words! {
    /// What came of trying to reproduce a reported error.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    pub enum Finding ("result of a reproduction") {
        /// The same failure.
        Reproduced = "reproduced",
        /// A failure, but another one.
        Different = "different",
        /// No failure, and so none at a rate above the bound.
        NotReproduced = "not-reproduced",
        /// No telling, for a reason on our side.
        Undecided = "undecided",
    }
}

const fn one() -> u64 {
    1
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn optional_millis<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis::serialize(at, serializer),
        None => serializer.serialize_none(),
    }
}
