//! A run as metrics: the last one in a file that a node exporter's textfile collector reads, each
//! round of a watch, and one session on its own.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::metrics::{self, CELL, Exposition, Notation, PROBE};
use super::recording::Recording;
use super::timing::timings;
use crate::record::{Line, Session, Variant};
use crate::status::failed;

/// Writes a recording as metrics.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    let mut exposition = Exposition::default();
    for (labels, sessions) in cells(&recording.sessions) {
        cell(&labels, &sessions, &mut exposition);
    }
    run(recording, &mut exposition);
    exposition.write(out, Notation::Text)
}

/// The cells of one round of a watch's probe.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub exposition: Exposition,
    /// How many cells are in it.
    pub cells: usize,
    /// How many are not, because they are too many.
    pub left_out: usize,
}

/// A round's cells, `most` of them at most.
#[must_use]
pub fn round(probe: &str, lines: &[Line], most: usize) -> Round {
    let mut recording = Recording::default();
    for line in lines {
        recording.add(line);
    }
    recording.settle();
    let (mut exposition, cells) = (Exposition::default(), cells(&recording.sessions));
    for (labels, sessions) in cells.iter().take(most) {
        let mut labels = labels.clone();
        labels.push((PROBE, probe.to_owned()));
        cell(&labels, sessions, &mut exposition);
    }
    for (domain, ms) in lookups(&recording) {
        exposition.set(&metrics::DNS_LOOKUP, &[("target", domain), (PROBE, probe)], seconds(ms));
    }
    Round { exposition, cells: cells.len().min(most), left_out: cells.len().saturating_sub(most) }
}

/// One session as a probe's whole answer: no labels, save in the sample that says where it went.
/// One that was cut short has not succeeded.
pub fn session(session: &Session, out: &mut Exposition) {
    cell(&[], &[session], out);
    if !session.kind.is_trial() {
        out.set(&metrics::SUCCESS, &[], 0.0);
    }
    let labels: Labels = labels(session).into_iter().filter(|(name, _)| *name != "role").collect();
    out.set(&metrics::PROBED, &borrowed(&labels), 1.0);
}

type Labels = Vec<(&'static str, String)>;

/// The sessions of each cell, in order. A cell's other variants ask another question.
fn cells(sessions: &[Session]) -> Vec<(Labels, Vec<&Session>)> {
    let mut cells: BTreeMap<_, Vec<&Session>> = BTreeMap::new();
    for session in sessions {
        if let (Some(address), true) = (session.address, session.kind.is_trial() && session.variant == Variant::Plain) {
            let target = session.domain.as_deref().unwrap_or_default();
            let cell = (target, session.role, session.source, session.mx.as_deref(), address);
            cells.entry(cell).or_default().push(session);
        }
    }
    cells.into_values().map(|sessions| (labels(sessions[0]), sessions)).collect()
}

fn labels(session: &Session) -> Labels {
    let shown = |ip: Option<IpAddr>| ip.map_or_else(String::new, |ip| ip.to_string());
    let values = [
        session.domain.clone().unwrap_or_default(),
        session.role.to_string(),
        shown(session.source),
        session.mx.clone().unwrap_or_default(),
        shown(session.address),
    ];
    CELL.into_iter().zip(values).collect()
}

fn borrowed(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn cell(labels: &[(&'static str, String)], sessions: &[&Session], out: &mut Exposition) {
    let mut set = |metric, more: &[(&'static str, &str)], value| {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
        out.set(metric, &labels, value);
    };
    let failures = sessions.iter().filter(|s| failed(s)).count();
    set(&metrics::SUCCESS, &[], f64::from(u8::from(failures * 2 <= sessions.len())));
    for timing in timings(sessions.iter().copied()) {
        set(&metrics::PHASE, &[("phase", timing.stage.as_str())], seconds(timing.median));
    }
    let Some(last) = sessions.last() else { return };
    if let Some(address) = last.address {
        set(&metrics::IP_PROTOCOL, &[], if address.is_ipv4() { 4.0 } else { 6.0 });
    }
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

/// How long the lookup of each target's exchangers took, in milliseconds.
fn lookups(recording: &Recording) -> Vec<(&str, f64)> {
    let mut found = Vec::new();
    for domain in recording.domains().into_iter().flatten() {
        let mut asked = recording.lookups.iter().filter(|l| l.name == domain && l.rtype == "MX");
        found.extend(asked.next_back().map(|lookup| (domain, lookup.ms)));
    }
    found
}

fn run(recording: &Recording, out: &mut Exposition) {
    for (domain, ms) in lookups(recording) {
        out.set(&metrics::DNS_LOOKUP, &[("target", domain)], seconds(ms));
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
