//! The JSON lines: what a run writes and what the judge, `diff` and others read.
//!
//! These types are the contract's. A record is evidence: it names what was asked, what came back
//! and how long it took. `null` means "does not apply"; an absent field was not reached or not
//! measured; neither is ever written as zero.

use serde::{Deserialize, Serialize};

mod diagnosis;
mod evidence;
mod gate;
mod incident;
mod report;
mod session;
mod time;

pub use crate::smtp::fault::LookupError;
pub use diagnosis::{Confidence, Diagnosis, DiagnosisKind, Elsewhere};
pub use evidence::{Check, CheckName, CheckResult, Lookup, Passed, Run, Summary};
pub use gate::{Gate, Verdict};
pub use incident::{Between, Incident, IncidentChange, IncidentEvent};
pub use report::{Finding, Report, Reproduction};
pub use session::{Kind, Role, Session, Step, Tls, Variant};
pub use time::{ms, stamp};

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
    /// May a source send, may the campaign start.
    Gate(Box<Gate>),
    /// The counts of a run: its last line.
    Summary(Summary),
    /// Trouble that lasted over rounds of a watch.
    Incident(Box<Incident>),
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
            "gate" => Self::Gate(serde_json::from_str(text)?),
            "summary" => Self::Summary(serde_json::from_str(text)?),
            "incident" => Self::Incident(serde_json::from_str(text)?),
            _ => return Ok(None),
        }))
    }
}
