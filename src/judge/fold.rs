//! Sessions that say the same, folded into one: what keeps the evidence of a long run small.
//!
//! Apart from [`super::Evidence`] because it is the one part that forgets. What it forgets is when,
//! within a stretch of time, each of the sessions was, and which run it was of: how many they were,
//! and when the first and the last, stays exact.

use std::collections::HashMap;

use super::repeats::Repeats;
use super::trial::Trial;

/// The shortest stretch of time, in milliseconds.
const SHORTEST: i64 = 1000;
/// All of time is within two of these.
const LONGEST: i64 = SHORTEST << 40;
/// At least so many stretches are kept for each different thing that is said, on an average.
const STRETCHES: usize = 4;

/// Sessions and counts of deliveries by what they say and by the stretch of time that they lie in.
///
/// Failures apart from the rest, each with a stretch of their own: they are fewer, and more depends on
/// when they were.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    failed: Folds,
    rest: Folds,
    pub(super) repeats: Repeats,
}

impl Folded {
    /// Nothing yet. More than `bound` failures, or others, are folded further.
    pub(super) fn new(bound: usize) -> Self {
        Self { failed: Folds::new(bound), rest: Folds::new(bound), repeats: Repeats::default() }
    }

    /// Takes one more; its run and number are not kept.
    pub(super) fn add(&mut self, trial: &Trial) {
        let failed = trial.failed() && trial.kind.is_trial() && !trial.expected;
        if failed { &mut self.failed } else { &mut self.rest }.add(trial);
    }

    /// All of them, in no order.
    pub(super) fn trials(&self) -> Vec<Trial> {
        let mut trials = self.failed.trials();
        trials.extend(self.rest.trials());
        trials
    }
}

/// So many folds as are within a bound, or as make [`STRETCHES`] stretches of everything that is said: so
/// memory grows with what there is to say, never with how often it is said.
///
/// A longer stretch consists of shorter ones, and a fold has exact ends: the order in which sessions
/// come makes no difference, but for the stretch where there is more to say than fits into the bound.
#[derive(Clone, Debug)]
struct Folds {
    bound: usize,
    /// In milliseconds; none while there were never more than the bound.
    stretch: i64,
    /// What is said, without time and number.
    said: Vec<Trial>,
    index: HashMap<Trial, u32>,
    kept: Vec<Fold>,
}

/// Sessions of the same stretch that say the same. In the order of what is said, then of time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Fold {
    said: u32,
    first: i64,
    last: i64,
    weight: u64,
}

impl Folds {
    fn new(bound: usize) -> Self {
        Self { bound, stretch: 0, said: Vec::new(), index: HashMap::new(), kept: Vec::new() }
    }

    fn add(&mut self, trial: &Trial) {
        // Of a count of deliveries the number is what says so.
        let seq = if trial.counted() { trial.seq } else { 0 };
        let what = Trial { at: 0, run: None, seq, weight: 1, extent: 0, ..*trial };
        let next = u32::try_from(self.said.len()).unwrap_or(u32::MAX);
        let said = *self.index.entry(what).or_insert(next);
        if said == next {
            self.said.push(what);
        }
        let first = trial.at.saturating_sub(trial.extent / 2);
        self.kept.push(Fold { said, first, last: first.saturating_add(trial.extent), weight: trial.weight });
        let half = self.half();
        if self.kept.len() > 2 * half {
            self.stretch = fold(&mut self.kept, self.stretch.max(SHORTEST), half);
        }
    }

    fn trials(&self) -> Vec<Trial> {
        let mut folds = self.kept.clone();
        if self.stretch > 0 {
            fold(&mut folds, self.stretch, self.half());
        }
        let trial = |fold: Fold| {
            let extent = fold.last.saturating_sub(fold.first);
            let said = self.said.get(fold.said as usize)?;
            Some(Trial { at: fold.first.saturating_add(extent / 2), weight: fold.weight, extent, ..*said })
        };
        folds.into_iter().filter_map(trial).collect()
    }

    /// How many are left at most once they are folded.
    fn half(&self) -> usize {
        (self.bound / 2).max(STRETCHES * self.said.len())
    }
}

/// Makes one of those that say the same in the same stretch, and doubles the stretch until so many
/// are left as were wanted. Returns the stretch.
fn fold(folds: &mut Vec<Fold>, mut stretch: i64, wanted: usize) -> i64 {
    folds.sort_unstable();
    loop {
        folds.dedup_by(|next, kept| {
            let same = next.said == kept.said && next.first.div_euclid(stretch) == kept.first.div_euclid(stretch);
            if same {
                kept.last = kept.last.max(next.last);
                kept.weight = kept.weight.saturating_add(next.weight);
            }
            same
        });
        if folds.len() <= wanted || stretch >= LONGEST {
            return stretch;
        }
        stretch *= 2;
    }
}
