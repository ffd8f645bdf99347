//! Each distinct refusal or fault once, with its words as they came.

use std::io;

use super::paper::{BAD, BOLD, DIM, PLAIN, Paper, WARN, piece};
use crate::record::Role;
use crate::sink::faults::{Fault, faults, sessions};
use crate::sink::recording::{Recording, ranges};
use crate::status::failed;

/// No more blocks than this: a server can word every refusal anew.
const BLOCKS: usize = 24;

/// No more lines of one reply than this.
const LINES: usize = 40;

/// One block per distinct refusal, fault, or reason of ours. Where a single session was told
/// stage by stage (`alone`), its own is left out.
pub(super) fn refusals<W: io::Write>(paper: &mut Paper<W>, recording: &Recording, alone: bool) -> io::Result<()> {
    let told = |s: &&crate::record::Session| alone && s.role != Role::Control && s.address.is_some();
    let faults = faults(recording.sessions.iter().filter(|s| !told(s)));
    for fault in faults.iter().take(BLOCKS) {
        paper.blank()?;
        block(paper, fault)?;
    }
    if let Some(more) = faults.get(BLOCKS..).filter(|more| !more.is_empty()) {
        let count: usize = more.iter().map(|fault| fault.sessions.len()).sum();
        let text = format!("and {} more kinds of failure in {}", more.len(), sessions(count as u64));
        paper.blank()?;
        paper.flow(piece(PLAIN, ""), BOLD, &text)?;
    }
    Ok(())
}

fn block<W: io::Write>(paper: &mut Paper<W>, fault: &Fault<'_>) -> io::Result<()> {
    let first = fault.first();
    let style = if failed(first) { BAD } else { WARN };
    let expected = if first.expected { " (as expected)" } else { "" };
    let count = fault.sessions.len() as u64;
    paper.flow(piece(style.bold(), format!("{}: ", fault.what())), PLAIN, &format!("{}{expected}", sessions(count)))?;
    let control = if first.role == Role::Control { "control " } else { "" };
    let (sources, addresses) = (fault.sources(), fault.addresses());
    if !sources.is_empty() {
        paper.flow(piece(DIM, "  from    "), PLAIN, &ranges(sources))?;
    }
    let names: std::collections::BTreeSet<&str> = fault.sessions.iter().filter_map(|s| s.mx.as_deref()).collect();
    let names = names.into_iter().take(6).collect::<Vec<_>>().join(", ");
    let at = match (addresses.is_empty(), names.is_empty()) {
        (true, true) => first.domain.clone().unwrap_or_default(),
        (true, false) => names,
        (false, true) => ranges(addresses),
        (false, false) => format!("{} ({names})", ranges(addresses)),
    };
    paper.flow(piece(DIM, "  at      "), PLAIN, &format!("{control}{at}"))?;
    if let Some(reply) = &first.reply {
        lines(paper, reply)?;
        let worded: std::collections::BTreeSet<_> = fault.sessions.iter().map(|s| &s.reply).collect();
        if worded.len() > 1 {
            let text = format!("one of {}, alike but for addresses, names, times and ids", worded.len());
            paper.flow(piece(DIM, "          "), DIM, &text)?;
        }
    }
    for also in fault.also() {
        paper.flow(piece(DIM, "  and then, unasked:"), DIM, "")?;
        lines(paper, also)?;
    }
    if let Some(detail) = &first.detail {
        paper.flow(piece(DIM, "  detail  "), PLAIN, detail)?;
    }
    let notes: Vec<&str> = fault.notes().into_iter().collect();
    if !notes.is_empty() {
        paper.flow(piece(DIM, "  notes   "), PLAIN, &notes.join(", "))?;
    }
    Ok(())
}

/// A reply's lines word for word.
pub(super) fn lines<W: io::Write>(paper: &mut Paper<W>, lines: &[String]) -> io::Result<()> {
    lines.iter().take(LINES).try_for_each(|line| paper.verbatim(4, BOLD, line))?;
    match lines.len().saturating_sub(LINES) {
        0 => Ok(()),
        more => paper.flow(piece(DIM, "    "), DIM, &format!("and {more} lines more")),
    }
}
