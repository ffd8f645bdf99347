//! The names of all metrics, and the text format in which they are handed over.
//!
//! What the blackbox exporter measures too has its name here; what is ours starts with
//! `probe_smtp_` or `mxprobe_`. Units are seconds. What was not measured is absent, never zero.
//! A reply's text is no label.

use std::collections::BTreeMap;
use std::io;

use crate::visible::visible;

/// A metric: its name and what it says.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
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

/// The labels of a cell's metrics.
pub const CELL: [&str; 5] = ["target", "role", "source", "mx", "address"];

/// No label is longer, in characters.
const LENGTH: usize = 200;

/// Samples as they gather; of two with the same labels the later counts.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static Metric, BTreeMap<String, f64>>,
}

impl Exposition {
    /// Sets a sample.
    pub fn set(&mut self, metric: &'static Metric, labels: &[(&str, &str)], value: f64) {
        self.families.entry(metric).or_default().insert(joined(labels), value);
    }

    /// Writes all samples in the text exposition format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write<W: io::Write>(&self, out: &mut W) -> io::Result<()> {
        for (metric, samples) in &self.families {
            writeln!(out, "# HELP {} {}", metric.name, metric.help)?;
            writeln!(out, "# TYPE {} gauge", metric.name)?;
            for (labels, value) in samples {
                writeln!(out, "{}{labels} {value}", metric.name)?;
            }
        }
        Ok(())
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
