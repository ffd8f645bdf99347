//! What was found, with its proof: diagnoses, and whether what was reported shows again.

use super::{Block, Finding, Ink, Past};
use crate::record::{Diagnosis, DiagnosisKind, Reproduction};
use crate::sink::faults::{called, sessions};
use crate::sink::recording::{Recording, ranges};

pub(super) fn found(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    match past {
        Some(past) => vec![Block::Finding(super::incident::finding(past, ink))],
        None => recording.diagnoses.iter().map(|d| Block::Finding(finding(d, ink))).collect(),
    }
}

fn finding(d: &Diagnosis, ink: &Ink) -> Finding {
    let mut who =
        vec![ranges(d.sources.iter().copied()), ranges(d.addresses.iter().copied()), ink.text(&d.backends.join(", "))];
    who.extend(d.stage.map(|stage| format!("at {stage}")));
    who.retain(|names| !names.is_empty());
    who.push(format!("confidence {}", d.confidence));
    let kinds = |kinds: &[DiagnosisKind]| kinds.iter().map(|&kind| called(kind).to_lowercase()).collect::<Vec<_>>();
    let (candidates, leaning) = (kinds(&d.candidates), kinds(d.leaning.as_slice()));
    let told = [
        ("", &d.because),
        ("could be: ", &candidates),
        ("leaning: ", &leaning),
        ("ruled out: ", &d.ruled_out),
        ("would settle it: ", &d.would_raise),
        ("for us: ", &vec![d.advice.clone()]),
    ];
    let points = told
        .iter()
        .flat_map(|(name, texts)| ink.texts(texts.iter()).into_iter().map(move |text| format!("{name}{text}")));
    Finding { rank: d.rank, called: called(d.kind), facts: who.join(", "), points: points.collect() }
}

/// What was reported, and whether it showed again.
pub(super) fn reproductions(recording: &Recording, ink: &Ink) -> Vec<Block> {
    recording.reproductions.iter().flat_map(|answer| reproduction(recording, answer, ink)).collect()
}

fn reproduction(recording: &Recording, answer: &Reproduction, ink: &Ink) -> Vec<Block> {
    let result = answer.result.as_str().replace('-', " ").to_uppercase();
    let domain = answer.domain.as_deref().map_or_else(String::new, |domain| format!(" of {}", ink.word(domain)));
    let stage = answer.stage.map_or_else(String::new, |stage| format!(" at {stage}"));
    let such = if answer.reports > 1 { format!(", {} such reports", answer.reports) } else { String::new() };
    let mut blocks = vec![Block::Heading(format!("Report {}{stage}{domain}{such}: {result}", answer.report))];
    let report = recording.reports.iter().find(|report| report.seq == answer.report);
    if let Some(reply) = report.and_then(|report| report.reply.as_ref()) {
        blocks.push(ink.quoted(std::slice::from_ref(reply)));
    }
    let (low, high) = (answer.rate_low * 100.0, answer.rate_high * 100.0);
    let seen = format!("{} of {}; rate {low:.1}-{high:.1} % (95 %)", answer.same, sessions(answer.sessions));
    let told = [
        ("because", answer.because.clone().unwrap_or_default()),
        ("seen in", if answer.sessions > 0 { seen } else { String::new() }),
        ("from", ranges(answer.sources.iter().copied())),
        ("at", ranges(answer.addresses.iter().copied())),
        ("instead", answer.others.join("; ")),
        ("not tested", answer.not_tested.join("; ")),
    ];
    let told = told.iter().filter(|(_, text)| !text.is_empty());
    blocks.extend(Block::list(told.map(|(name, text)| format!("{name}: {}", ink.text(text))).collect()));
    blocks
}
