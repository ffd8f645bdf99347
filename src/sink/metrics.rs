//! The names of all metrics, and the two notations in which they are handed over.
//!
//! What the blackbox exporter measures too has its name here; what is ours starts with
//! `probe_smtp_` or `mxprobe_`. Units are seconds. What was not measured is absent, never zero.
//! A reply's text is no label.

use std::collections::BTreeMap;
use std::io;

use crate::visible::visible;

/// A metric: its name and what it says. One that only grows is a counter, and ends in `_total`.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
}

impl Metric {
    /// The name without what makes it a counter's.
    fn counted(&self) -> Option<&'static str> {
        self.name.strip_suffix("_total")
    }
}

/// What holds of one cell of the matrix, with [`CELL`]'s labels.
pub const SUCCESS: Metric =
    Metric { name: "probe_success", help: "Whether at most half of the cell's sessions failed" };
pub const DURATION: Metric = Metric { name: "probe_duration_seconds", help: "How long the cell's last session took" };
pub const PHASE: Metric =
    Metric { name: "probe_smtp_duration_seconds", help: "Median duration of a phase that was answered" };
pub const STATUS_CODE: Metric =
    Metric { name: "probe_smtp_status_code", help: "Reply code of a stage in the cell's last session" };
pub const ENHANCED: Metric = Metric {
    name: "probe_smtp_enhanced_status_code",
    help: "Enhanced status code of the reply that ended the cell's last session, as a label",
};
pub const FAILED_AT: Metric =
    Metric { name: "probe_failed_at_stage_info", help: "Where and how the cell's last session failed" };
pub const IP_PROTOCOL: Metric = Metric { name: "probe_ip_protocol", help: "IP version of the cell's address, 4 or 6" };
pub const CERT_EXPIRY: Metric =
    Metric { name: "probe_ssl_earliest_cert_expiry", help: "When the certificate expires, as a Unix time" };
pub const TLS_VERSION: Metric =
    Metric { name: "probe_tls_version_info", help: "TLS version spoken in the cell's last session" };

/// What holds of a target or a run.
pub const DNS_LOOKUP: Metric =
    Metric { name: "probe_dns_lookup_time_seconds", help: "How long the lookup of the target's exchangers took" };
pub const SESSIONS: Metric = Metric { name: "mxprobe_sessions", help: "Sessions of the last run by what they came to" };
pub const DIAGNOSIS: Metric = Metric { name: "mxprobe_diagnosis_info", help: "The diagnoses of the last run" };
pub const GATE: Metric =
    Metric { name: "mxprobe_gate_info", help: "The verdicts of the last smoke test, no source: on the whole" };
pub const RUN_TIMESTAMP: Metric =
    Metric { name: "mxprobe_run_timestamp_seconds", help: "When the last run began, as a Unix time" };
pub const RUN_DURATION: Metric = Metric { name: "mxprobe_run_duration_seconds", help: "How long the last run took" };
pub const SIMULATED: Metric =
    Metric { name: "mxprobe_simulated", help: "Whether the provider of the last run was simulated" };

/// What a watch says of itself and of each of its probes.
pub const BUILD: Metric = Metric { name: "mxprobe_build_info", help: "The version that runs, as a label" };
pub const ROUNDS: Metric = Metric { name: "mxprobe_rounds_total", help: "Rounds of a probe that were run" };
pub const MISSED: Metric =
    Metric { name: "mxprobe_rounds_missed_total", help: "Rounds of a probe that could not start in their time" };
pub const ENDINGS: Metric =
    Metric { name: "mxprobe_sessions_total", help: "Sessions of a probe by how they ended, since the watch began" };
pub const ROUND_AGE: Metric =
    Metric { name: "mxprobe_round_age_seconds", help: "How long ago the probe's last round ended" };
pub const ROUND_DURATION: Metric =
    Metric { name: "mxprobe_round_duration_seconds", help: "How long the probe's last round took" };
pub const NEXT_ROUND: Metric =
    Metric { name: "mxprobe_next_round_timestamp_seconds", help: "When the probe's next round is due, as a Unix time" };
pub const INCIDENTS_OPEN: Metric =
    Metric { name: "mxprobe_incidents_open", help: "Incidents of a probe that last, by what they are" };
pub const BUDGET_LEFT: Metric = Metric {
    name: "mxprobe_budget_left_sessions",
    help: "Sessions that may still start at a provider in the running hour or day",
};
pub const RECEIVERS_FAILING: Metric =
    Metric { name: "mxprobe_receivers_failing", help: "Receivers of alerts that could not be told last" };
pub const CELLS_LEFT_OUT: Metric =
    Metric { name: "mxprobe_cells_left_out", help: "Cells of the last rounds that are too many to be shown here" };

/// What only a probe by HTTP says: the cell that was probed, in labels.
pub const PROBED: Metric = Metric { name: "probe_smtp_cell_info", help: "From where to where the session went" };

/// The label that says to which probe of a watch a sample belongs.
pub const PROBE: &str = "probe";

/// The labels of a cell's metrics.
pub const CELL: [&str; 5] = ["target", "role", "source", "mx", "address"];

/// No label is longer, in characters.
const LENGTH: usize = 200;

/// Samples as they gather; of two with the same labels the later counts.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static Metric, BTreeMap<String, f64>>,
}

impl Exposition {
    /// Sets a sample.
    pub fn set(&mut self, metric: &'static Metric, labels: &[(&str, &str)], value: f64) {
        self.families.entry(metric).or_default().insert(joined(labels), value);
    }

    /// Takes in all samples of another.
    pub fn add(&mut self, other: &Self) {
        for (metric, samples) in &other.families {
            let mine = self.families.entry(metric).or_default();
            mine.extend(samples.iter().map(|(labels, value)| (labels.clone(), *value)));
        }
    }

    /// Writes all samples.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write<W: io::Write>(&self, out: &mut W, notation: Notation) -> io::Result<()> {
        for (metric, samples) in &self.families {
            let (family, kind) = match (metric.counted(), notation) {
                (None, _) => (metric.name, "gauge"),
                (Some(_), Notation::Text) => (metric.name, "counter"),
                (Some(family), Notation::OpenMetrics) => (family, "counter"),
            };
            writeln!(out, "# HELP {family} {}", metric.help)?;
            writeln!(out, "# TYPE {family} {kind}")?;
            for (labels, value) in samples {
                writeln!(out, "{}{labels} {value}", metric.name)?;
            }
        }
        match notation {
            Notation::Text => Ok(()),
            Notation::OpenMetrics => writeln!(out, "# EOF"),
        }
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notation {
    /// Prometheus's text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0: a counter's family goes without `_total`, and the end is said.
    OpenMetrics,
}

impl Notation {
    /// The media type of what is written.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// `{a="x",b="y"}`; nothing where there are no labels. An empty label is as good as none.
fn joined(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let value: String = visible(value).chars().take(LENGTH).collect();
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        })
        .collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}
