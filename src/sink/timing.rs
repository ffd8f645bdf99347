//! How long the stages took.

use std::collections::BTreeMap;

use crate::record::{Kind, Session};
use crate::stage::Stage;

/// A stage's durations over several sessions, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timing {
    pub(super) stage: Stage,
    /// How many sessions measured it.
    pub(super) count: usize,
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

/// The stages that were measured, in order. A stage that the other side never answered has no
/// duration: how long we waited is ours, and is left out.
pub(super) fn timings<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> Vec<Timing> {
    let mut measured: BTreeMap<Stage, Vec<f64>> = BTreeMap::new();
    for (stage, ms) in sessions.into_iter().flat_map(answered) {
        measured.entry(stage).or_default().push(ms);
    }
    let timing = |(stage, mut ms): (Stage, Vec<f64>)| {
        ms.sort_unstable_by(f64::total_cmp);
        let (count, min, max) = (ms.len(), ms[0], ms[ms.len() - 1]);
        let median = f64::midpoint(ms[(count - 1) / 2], ms[count / 2]);
        Timing { stage, count, min, median, max }
    };
    measured.into_iter().map(timing).collect()
}

/// A session's stages that were answered and the milliseconds they took.
pub(super) fn answered(session: &Session) -> impl Iterator<Item = (Stage, f64)> {
    let silent = !matches!(session.kind, Kind::Completed | Kind::Rejected);
    session
        .steps
        .iter()
        .filter(move |step| !(silent && Some(step.stage) == session.stage) && step.ms.is_finite())
        .map(|step| (step.stage, step.ms))
}
