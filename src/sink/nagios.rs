//! A one-shot check in the manner of the Monitoring Plugins' guidelines: one line with what is
//! wrong and performance data, further lines with the proof, and a status of its own.

use std::collections::BTreeMap;
use std::io;

use super::faults::{faults, sessions};
use super::recording::{Recording, ranges};
use super::timing::timings;
use crate::record::{Diagnosis, DiagnosisKind, Line, Role, Session, Verdict};
use crate::status::{Tally, failed};
use crate::visible::visible;

/// No more lines of proof than this: what a scheduler keeps of a plugin's output is small.
const LINES: usize = 20;

/// No line of proof is longer, in characters.
const LENGTH: usize = 240;

/// A plugin's status; the discriminant is the exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Ok = 0,
    /// Some of it does not work: one address of several, one source of several.
    Warning = 1,
    /// A whole target does not work.
    Critical = 2,
    /// Our own fault.
    Unknown = 3,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The exit status of `--format nagios`: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
#[must_use]
pub fn status(lines: &[Line]) -> u8 {
    let mut recording = Recording::default();
    for line in lines {
        recording.add(line);
    }
    recording.settle();
    judged(&recording) as u8
}

/// Writes a recording as a plugin's output.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    let names: Vec<&str> = recording.domains().into_iter().flatten().collect();
    let target = if names.is_empty() { targets(recording) } else { names.join(", ") };
    let tally: Tally = recording.sessions.iter().filter(|s| s.role != Role::Control).collect();
    let told = match (tally.trials(), tally.failed) {
        (0, _) => "nothing could be tried".to_owned(),
        (tried, 0) => format!("{tried} of {} passed", sessions(tried)),
        (tried, failed) => format!("{failed} of {} failed", sessions(tried)),
    };
    let told = if recording.gates.is_empty() { told } else { verdict(recording) };
    let simulated = if recording.runs.iter().any(|run| run.simulated) { " (SIMULATED)" } else { "" };
    let found = recording.diagnoses.iter().filter(|d| d.kind != DiagnosisKind::Healthy).take(3).map(named);
    let head = format!("SMTP {} - {}{simulated}: {told}", judged(recording).as_str(), plain(&target));
    let line: Vec<String> = std::iter::once(head).chain(found.map(|found| plain(&found))).collect();
    writeln!(out, "{} | {}", line.join("; "), measured(recording, tally))?;
    for text in proof(recording).into_iter().take(LINES) {
        writeln!(out, "{}", plain(&text))?;
    }
    Ok(())
}

/// What the sessions come to. A control is no target: its failures show in the diagnosis.
fn judged(recording: &Recording) -> Status {
    use DiagnosisKind::{BadTarget, EgressBlocked, LocalConfig, LocalDns, ReceiverDnsFault};
    let wholes = || recording.gates.iter().filter(|gate| gate.source.is_none());
    if wholes().next().is_some() {
        let some_stay = recording.gates.iter().any(|gate| gate.verdict != Verdict::Go);
        return match wholes().map(|gate| (gate.verdict, !gate.unknown)).max() {
            Some((Verdict::NoGo, _)) => Status::Critical,
            Some((Verdict::Hold, false)) => Status::Unknown,
            Some((Verdict::Hold, true)) => Status::Warning,
            _ if some_stay => Status::Warning,
            _ => Status::Ok,
        };
    }
    let ours = |d: &Diagnosis| matches!(d.kind, LocalConfig | LocalDns | EgressBlocked);
    let probed = || recording.sessions.iter().filter(|s| s.role != Role::Control);
    let tally: Tally = probed().collect();
    let (first, theirs) = (recording.diagnoses.first(), |d: &Diagnosis| matches!(d.kind, BadTarget | ReceiverDnsFault));
    match (tally.trials(), tally.failed) {
        (0, _) if recording.diagnoses.iter().any(theirs) => Status::Critical,
        (0, _) => Status::Unknown,
        (_, 0) if tally.local > 0 => Status::Unknown,
        (_, 0) => Status::Ok,
        (tried, failed) if failed == tried && first.is_some_and(ours) => Status::Unknown,
        _ if first.is_some() && recording.diagnoses.iter().all(ours) => Status::Unknown,
        _ if recording.domains().into_iter().any(|domain| down(recording.at(domain))) => Status::Critical,
        _ => Status::Warning,
    }
}

/// What a smoke test says of the campaign.
fn verdict(recording: &Recording) -> String {
    let wholes = recording.gates.iter().filter(|gate| gate.source.is_none());
    let several = wholes.clone().count() > 1;
    let told = wholes.map(|gate| {
        let name =
            gate.domain.as_deref().filter(|_| several).map_or_else(String::new, |name| format!("{} ", plain(name)));
        let count = gate.go.zip(gate.wanted).map(|(go, wanted)| format!(" ({go} GO, wanted {wanted})"));
        format!("{name}{}{}", gate.verdict.called(), count.unwrap_or_default())
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Whether every exchanger of a target failed more than half of our own sources' sessions.
fn down<'a>(sessions: impl Iterator<Item = &'a Session> + Clone) -> bool {
    let neutral_only = sessions.clone().all(|s| s.role == Role::Neutral);
    let mut cells: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for session in sessions.filter(|s| s.kind.is_trial() && (neutral_only || s.role == Role::Target)) {
        let end = session.address.map_or_else(|| session.mx.clone().unwrap_or_default(), |a| a.to_string());
        let cell = cells.entry((end, session.port)).or_default();
        cell.0 += u64::from(failed(session));
        cell.1 += 1;
    }
    !cells.is_empty() && cells.values().all(|(failed, tried)| failed * 2 > *tried)
}

/// Performance data: the median of each stage that was measured, and the counts.
fn measured(recording: &Recording, tally: Tally) -> String {
    let sessions = recording.sessions.iter().filter(|s| s.role != Role::Control);
    let medians = timings(sessions).into_iter().map(|t| format!("'{}'={:.6}s;;;0", t.stage, t.median / 1000.0));
    let total = tally.sessions();
    let counts = [("failed", tally.failed), ("local", tally.local), ("skipped", tally.skipped)];
    let counts = counts.into_iter().map(|(name, count)| format!("'{name}'={count};;;0;{total}"));
    let data: Vec<String> = medians.chain(counts).chain([format!("'sessions'={total};;;0")]).collect();
    data.join(" ")
}

/// Each distinct failure, then why the diagnoses say what they say.
fn proof(recording: &Recording) -> Vec<String> {
    let faults = faults(recording.sessions.iter().filter(|s| !s.expected));
    let told = faults.iter().map(|fault| {
        let first = fault.first();
        let mut parts = vec![format!("{}: {}", fault.what(), sessions(fault.sessions.len() as u64))];
        let (from, to) = (ranges(fault.sources()), ranges(fault.addresses()));
        let name = first.mx.clone().or_else(|| first.domain.clone()).unwrap_or_default();
        for (word, names) in [("from", from), ("to", if to.is_empty() { name } else { to })] {
            if !names.is_empty() {
                parts.push(format!("{word} {names}"));
            }
        }
        let words = first.reply.as_ref().map(|lines| lines.join(" ")).or_else(|| first.detail.clone());
        parts.join(" ") + &words.map_or_else(String::new, |words| format!(": {words}"))
    });
    let because = recording.diagnoses.iter().flat_map(|d| d.because.iter().map(|why| format!("{}: {why}", d.kind)));
    let gates = recording.gates.iter().filter(|gate| gate.verdict != Verdict::Go).map(|gate| {
        let of = gate.source.map_or_else(|| "all".to_owned(), |source| source.to_string());
        let fix = gate.fix.as_ref().map_or_else(String::new, |fix| format!("; do: {fix}"));
        format!("{of} {}: {}{fix}", gate.verdict.called(), gate.reason.as_deref().unwrap_or_default())
    });
    gates.chain(told).chain(because).collect()
}

fn named(d: &Diagnosis) -> String {
    let mut told = vec![d.kind.to_string(), ranges(d.sources.iter().copied()), ranges(d.addresses.iter().copied())];
    told.extend(d.stage.map(|stage| format!("at {stage}")));
    told.push(format!("({})", d.confidence));
    told.retain(|text| !text.is_empty());
    told.join(" ")
}

fn targets(recording: &Recording) -> String {
    let targets: Vec<&str> = recording.runs.iter().flat_map(|run| run.targets.iter().map(String::as_str)).collect();
    targets.join(", ")
}

/// Text that cannot end a line, begin performance data, or act in a shell that a notification
/// command hands it to: without the characters that Nagios takes for illegal in macros.
fn plain(text: &str) -> String {
    let kept = |c: &char| !matches!(c, '|' | '`' | '~' | '$' | '&' | '"' | '<' | '>');
    let text = visible(text).replace('\'', "’");
    text.chars().filter(kept).take(LENGTH).collect::<String>().trim_end().to_owned()
}
