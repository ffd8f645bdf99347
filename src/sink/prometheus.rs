//! The last run as metrics, for a file that a node exporter's textfile collector reads.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::metrics::{self, CELL, Exposition};
use super::recording::Recording;
use super::timing::timings;
use crate::record::{Session, Variant};
use crate::status::failed;

/// Writes a recording as metrics.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    let mut exposition = Exposition::default();
    cells(recording, &mut exposition);
    run(recording, &mut exposition);
    exposition.write(out)
}

fn cells(recording: &Recording, out: &mut Exposition) {
    let mut cells: BTreeMap<_, Vec<&Session>> = BTreeMap::new();
    for session in &recording.sessions {
        // A cell's other variants ask another question.
        if let (Some(address), true) = (session.address, session.kind.is_trial() && session.variant == Variant::Plain) {
            let target = session.domain.as_deref().unwrap_or_default();
            let cell = (target, session.role, session.source, session.mx.as_deref(), address);
            cells.entry(cell).or_default().push(session);
        }
    }
    for ((target, role, source, mx, address), sessions) in cells {
        let source = source.map_or_else(String::new, |source| source.to_string());
        let shown = address.to_string();
        let values = [target, role.as_str(), &source, mx.unwrap_or_default(), &shown];
        let cell: Vec<(&str, &str)> = CELL.into_iter().zip(values).collect();
        let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
            cell.iter().chain(more).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let mut set = |metric, more: &[(&'static str, &str)], value| {
            let labels = with(more);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            out.set(metric, &labels, value);
        };
        let failures = sessions.iter().filter(|s| failed(s)).count();
        set(&metrics::SUCCESS, &[], f64::from(u8::from(failures * 2 <= sessions.len())));
        set(&metrics::IP_PROTOCOL, &[], if matches!(address, IpAddr::V4(_)) { 4.0 } else { 6.0 });
        for timing in timings(sessions.iter().copied()) {
            set(&metrics::PHASE, &[("phase", timing.stage.as_str())], seconds(timing.median));
        }
        let Some(last) = sessions.last() else { continue };
        if let Some(ms) = last.total_ms {
            set(&metrics::DURATION, &[], seconds(ms));
        }
        for step in &last.steps {
            if let Some(code) = step.code {
                set(&metrics::STATUS_CODE, &[("stage", step.stage.as_str())], f64::from(code.get()));
            }
        }
        if let (Some(enhanced), Some(stage)) = (last.enhanced, last.stage) {
            set(&metrics::ENHANCED, &[("stage", stage.as_str()), ("enhanced", &enhanced.to_string())], 1.0);
        }
        if let (true, Some(stage)) = (failed(last), last.stage) {
            set(&metrics::FAILED_AT, &[("stage", stage.as_str()), ("reason", last.kind.as_str())], 1.0);
        }
        if let Some(tls) = &last.tls {
            if let Some(end) = tls.not_after {
                set(&metrics::CERT_EXPIRY, &[], unix(end));
            }
            if let Some(version) = &tls.version {
                set(&metrics::TLS_VERSION, &[("version", version)], 1.0);
            }
        }
    }
}

fn run(recording: &Recording, out: &mut Exposition) {
    for domain in recording.domains().into_iter().flatten() {
        let mut asked = recording.lookups.iter().filter(|l| l.name == domain && l.rtype == "MX");
        if let Some(lookup) = asked.next_back() {
            out.set(&metrics::DNS_LOOKUP, &[("target", domain)], seconds(lookup.ms));
        }
    }
    let tally = recording.tally();
    let counts =
        [("completed", tally.completed), ("failed", tally.failed), ("local", tally.local), ("skipped", tally.skipped)];
    for (result, count) in counts {
        #[expect(clippy::cast_precision_loss, reason = "nobody holds 2^52 sessions")]
        out.set(&metrics::SESSIONS, &[("result", result)], count as f64);
    }
    for d in &recording.diagnoses {
        let rank = d.rank.to_string();
        let labels = [("rank", &*rank), ("kind", d.kind.as_str()), ("confidence", d.confidence.as_str())];
        out.set(&metrics::DIAGNOSIS, &labels, 1.0);
    }
    for gate in &recording.gates {
        let source = gate.source.map_or_else(String::new, |source| source.to_string());
        let target = gate.domain.as_deref().unwrap_or_default();
        out.set(&metrics::GATE, &[("target", target), ("source", &source), ("verdict", gate.verdict.as_str())], 1.0);
    }
    if let Some(run) = recording.runs.last() {
        out.set(&metrics::RUN_TIMESTAMP, &[], unix(run.at));
        out.set(&metrics::SIMULATED, &[], f64::from(u8::from(run.simulated)));
    }
    if let Some(elapsed) = recording.summary.as_ref().and_then(|summary| summary.elapsed_ms) {
        out.set(&metrics::RUN_DURATION, &[], seconds(elapsed));
    }
}

/// Milliseconds as seconds, to the microsecond.
fn seconds(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1e6
}

fn unix(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
