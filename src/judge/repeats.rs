//! Which sessions of which run were taken in already, so that a file that is read twice counts once.
//!
//! Apart because it must remember every session and yet not grow with them: a run's numbers are
//! without gaps, so what is remembered of them is where they begin and end.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Unbroken stretches of numbers that are remembered at most, of all runs together: a run in order
/// is one, a run with so many sessions at once is a few thousand meanwhile.
const MOST: usize = 1 << 16;

/// The numbers of sessions, by run.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    /// By the hash of the run's name: from the first number of a stretch to its last.
    runs: HashMap<u64, BTreeMap<u64, u64>>,
    held: usize,
}

impl Repeats {
    /// Whether this session was there before; if not, it is from now on. One without a run or a number
    /// is always new; and so is one that would have to be remembered by itself, once too many are.
    pub(super) fn again(&mut self, run: &str, seq: u64) -> bool {
        if run.is_empty() || seq == 0 {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        let key = hasher.finish();
        let stretches = self.runs.get(&key);
        let before = stretches.and_then(|s| s.range(..=seq).next_back()).map(|(from, to)| (*from, *to));
        if before.is_some_and(|(_, to)| seq <= to) {
            return true;
        }
        let after = seq.checked_add(1).and_then(|next| stretches?.get(&next).map(|to| (next, *to)));
        let before = before.filter(|(_, to)| to.checked_add(1) == Some(seq));
        if before.is_none() && after.is_none() && self.held >= MOST {
            return false;
        }
        let stretches = self.runs.entry(key).or_default();
        if let Some((next, _)) = after {
            stretches.remove(&next);
            self.held -= 1;
        }
        self.held += usize::from(before.is_none());
        stretches.insert(before.map_or(seq, |(from, _)| from), after.map_or(seq, |(_, to)| to));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_run_is_new_once_in_whatever_order() {
        let mut repeats = Repeats::default();
        // 7 and 1009 have no divisor in common, so every number comes up.
        let mut order = (0..1009_u64).map(|n| n * 7 % 1009 + 1);
        assert!(order.all(|seq| !repeats.again("a", seq) && !repeats.again("b", seq)));
        assert_eq!(repeats.held, 2);
        assert!((1..=1009).all(|seq| repeats.again("a", seq) && repeats.again("b", seq)));
        assert!(!repeats.again("a", 1010) && !repeats.again("c", 1));
    }

    #[test]
    fn what_has_no_name_is_new_and_the_number_of_stretches_is_bounded() {
        let mut repeats = Repeats::default();
        assert!((0..3).all(|_| !repeats.again("", 1) && !repeats.again("a", 0)));
        assert!((1..=2 * MOST as u64).all(|n| !repeats.again("a", 2 * n)));
        assert_eq!(repeats.held, MOST);
        assert!(repeats.again("a", 2) && !repeats.again("a", u64::MAX) && !repeats.again("a", u64::MAX));
        // What joins two that are remembered is no more to remember.
        assert!(!repeats.again("a", 3) && repeats.again("a", 3));
        assert_eq!(repeats.held, MOST - 1);
    }
}
