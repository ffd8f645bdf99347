//! Which sessions a run has: a plan for each probe, and what is made of them together.

use std::sync::Arc;

use super::Sampling;
use super::resolve::Resolved;
use crate::plan::{self, Plan};
use crate::probe::Probe;

/// How much is run.
pub(super) enum Extent {
    /// The whole matrix.
    Whole,
    Sample(Sampling),
    /// One address per source, this turn's.
    Turn(u64),
    One,
    /// The matrix, and what a campaign asks besides.
    Smoke,
}

impl Extent {
    pub(super) fn sampling(&self) -> Option<&Sampling> {
        match self {
            Self::Sample(sampling) => Some(sampling),
            Self::Whole | Self::Turn(_) | Self::One | Self::Smoke => None,
        }
    }
}

/// A plan for each probe; their sessions are numbered through.
pub(super) fn lay_out(probes: &[Arc<Probe>], resolved: &[Resolved], seed: u64, extent: &Extent) -> Vec<Plan> {
    let mut first = 1;
    let laid_out = probes.iter().zip(resolved).enumerate().map(|(at, (probe, found))| {
        let sample = extent.sampling().and_then(|sampling| sampling.samples.get(at));
        let part = match (sample, extent) {
            (Some(sample), _) => plan::sample(probe, &found.routes, &found.sources, seed, first, sample),
            (None, Extent::Smoke) => plan::smoke(probe, &found.routes, &found.sources, seed, first),
            (None, _) => plan::plan(probe, &found.routes, &found.sources, seed, first),
        };
        first += part.len();
        part
    });
    let parts = laid_out.collect::<Vec<_>>().into_iter();
    match extent {
        Extent::One => parts.map(plan::one).collect(),
        Extent::Turn(number) => parts.map(|part| plan::turn(part, *number, 1)).collect(),
        Extent::Whole | Extent::Sample(_) | Extent::Smoke => parts.collect(),
    }
}

/// All parts as one plan.
pub(super) fn whole(parts: &[Plan]) -> Plan {
    Plan {
        stretches: parts.iter().flat_map(|part| part.stretches.iter().cloned()).collect(),
        left_out: parts.iter().flat_map(|part| part.left_out.iter().cloned()).collect(),
    }
}
