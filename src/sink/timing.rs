//! How long the stages took.

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
pub(super) fn timings<'a>(sessions: impl Iterator<Item = &'a Session> + Clone) -> Vec<Timing> {
    let of = |stage: Stage| {
        let mut ms: Vec<f64> =
            sessions.clone().flat_map(answered).filter(|step| step.0 == stage).map(|s| s.1).collect();
        ms.sort_unstable_by(f64::total_cmp);
        let median = match ms.len() {
            0 => return None,
            n if n % 2 == 1 => ms[n / 2],
            n => f64::midpoint(ms[n / 2 - 1], ms[n / 2]),
        };
        Some(Timing { stage, count: ms.len(), min: ms[0], median, max: ms[ms.len() - 1] })
    };
    Stage::ALL.iter().filter_map(|&stage| of(stage)).collect()
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
