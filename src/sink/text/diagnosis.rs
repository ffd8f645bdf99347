//! What it all comes to: the diagnoses in rank order, with their proof.

use std::io;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use crate::record::{Diagnosis, DiagnosisKind};
use crate::sink::faults::called;
use crate::sink::recording::{Recording, ranges};
use crate::sink::side::side;

/// The diagnoses, the first rank first.
pub(super) fn diagnoses<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    recording.diagnoses.iter().try_for_each(|d| diagnosis(paper, d))
}

fn diagnosis<W: io::Write>(paper: &mut Paper<W>, d: &Diagnosis) -> io::Result<()> {
    paper.blank()?;
    let style = match d.kind {
        DiagnosisKind::Healthy => GOOD,
        DiagnosisKind::Undecided => WARN,
        _ => BAD,
    };
    let what = d.code.map_or_else(String::new, |code| format!(" ({code})"));
    let at = d.stage.map(|stage| format!("at {stage}{what}"));
    let mut who = vec![ranges(d.sources.iter().copied()), ranges(d.addresses.iter().copied()), d.backends.join(", ")];
    who.retain(|names| !names.is_empty());
    let head = piece(style.bold(), format!("{}  {}  ", d.rank, called(d.kind)));
    let facts = at.into_iter().chain([format!("confidence {}", d.confidence)]).collect::<Vec<_>>().join(", ");
    paper.flow(head, BOLD, &facts)?;
    field(paper, "who", &[who.join("; ")])?;
    field(paper, "whose", &[side(d.kind).to_owned()])?;
    field(paper, "because", &d.because)?;
    if !d.candidates.is_empty() {
        let candidates: Vec<String> = d.candidates.iter().map(|&kind| called(kind).to_lowercase()).collect();
        field(paper, "could be", &[candidates.join(", ")])?;
    }
    if let Some(leaning) = d.leaning {
        field(paper, "leaning", &[called(leaning).to_lowercase()])?;
    }
    field(paper, "not", &d.ruled_out)?;
    field(paper, "to settle", &d.would_raise)?;
    field(paper, "do", std::slice::from_ref(&d.advice))?;
    field(paper, "notes", &d.notes)
}

fn field<W: io::Write>(paper: &mut Paper<W>, name: &str, texts: &[String]) -> io::Result<()> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let told = texts.iter().filter(|text| !text.is_empty()).zip(names);
    told.into_iter().try_for_each(|(text, name)| paper.flow(piece(DIM, format!("   {name:11}")), PLAIN, text))
}
