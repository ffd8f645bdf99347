//! Text for a reader at a terminal: what was tried, the matrix, each distinct refusal word for
//! word, how long it took, and what all that comes to.
//!
//! Everything is said in words or letters; colour only repeats it.

use std::io;

use super::recording::Recording;
use super::{Detail, Look, grid::Grid};
use crate::record::Role;
use paper::Paper;

mod diagnosis;
mod gate;
mod head;
mod matrix;
mod paper;
pub(super) mod past;
mod planned;
mod refusals;
mod reports;
mod single;
mod timing;

/// Writes a recording for a reader.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W, look: Look) -> io::Result<()> {
    let paper = &mut Paper::new(out, look);
    head::simulated(paper, recording)?;
    if look.detail > Detail::Quiet {
        head::head(paper, recording)?;
        reports::reports(paper, recording)?;
        planned::planned(paper, recording)?;
        sessions(paper, recording, look.detail)?;
    }
    reports::reproductions(paper, recording, look.detail == Detail::Quiet)?;
    diagnosis::diagnoses(paper, recording)?;
    gate::gate(paper, recording, look.detail)?;
    head::summary(paper, recording)
}

/// One session whole, several as a matrix and what it leaves out.
fn sessions<W: io::Write>(paper: &mut Paper<W>, recording: &Recording, detail: Detail) -> io::Result<()> {
    let probed: Vec<_> = recording.sessions.iter().filter(|s| s.role != Role::Control && s.address.is_some()).collect();
    let alone = probed.len() == 1 && recording.passed.is_empty();
    if !alone {
        for domain in recording.domains() {
            let grid = Grid::of(recording, domain);
            if !grid.rows.is_empty() {
                matrix::matrix(paper, domain, &grid)?;
                matrix::backends(paper, recording, domain)?;
            }
        }
    }
    if alone || detail == Detail::Verbose {
        let shown = recording.sessions.iter().filter(|s| s.address.is_some());
        shown
            .filter(|s| detail == Detail::Verbose || s.role != Role::Control)
            .try_for_each(|s| single::session(paper, s))?;
    }
    refusals::refusals(paper, recording, alone)?;
    if !alone {
        timing::timing(paper, recording)?;
        timing::tls(paper, recording)?;
        timing::dane(paper, recording)?;
    }
    Ok(())
}
