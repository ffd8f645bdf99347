//! What the counts say about the rate of a failure.

use crate::judge::statistics::{could_have_missed, ln_choose, wilson};

/// The 95 % interval of a failure's rate, seen in `same` of `tried` sessions.
///
/// Where nothing was seen: from zero to the one-sided bound. A sample that was drawn whole has
/// Wilson's interval. One that was `cut` short because the failure had shown often enough has that
/// of Clopper and Pearson, which is right for it too: its size then depends on the failures, and
/// two failures in the first two sessions would make Wilson's exclude a rate of 30 %, though they
/// come about in 9 of 100 such samples.
#[must_use]
pub fn interval(same: u64, tried: u64, cut: bool) -> (f64, f64) {
    if same == 0 {
        return (0.0, could_have_missed(tried));
    }
    if !cut {
        return wilson(same, tried);
    }
    // Both tails grow or fall with the rate, so the limit is where they pass 2.5 %.
    let low = root(|rate| tail(same, tried, rate) < TAIL);
    let high = if same == tried { 1.0 } else { root(|rate| 1.0 - tail(same + 1, tried, rate) > TAIL) };
    (low, high)
}

/// What a two-sided 95 % interval leaves out on either side.
const TAIL: f64 = 0.025;

/// The least rate for which `holds` no longer does.
fn root(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// How likely `least` failures or more are in `tried` sessions at this rate.
#[expect(clippy::cast_precision_loss, reason = "a sample has thousands of sessions at most")]
fn tail(least: u64, tried: u64, rate: f64) -> f64 {
    let term = |k: u64| (ln_choose(tried, k) + k as f64 * rate.ln() + (tried - k) as f64 * (-rate).ln_1p()).exp();
    (least..=tried).map(term).sum()
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_limits_are_published_ones() {
        // Clopper-Pearson: 2/2, 2/10, 1/29 (R: binom.test).
        for (same, tried, low, high) in [(2, 2, 0.1581, 1.0), (2, 10, 0.0252, 0.5561), (1, 29, 0.0009, 0.1776)] {
            let (l, h) = interval(same, tried, true);
            assert!((l - low).abs() < 1e-4 && (h - high).abs() < 1e-4, "{same}/{tried}: {l} {h}");
        }
        assert_eq!(interval(3, 29, false), wilson(3, 29));
        let (low, high) = interval(0, 29, false);
        assert!(low == 0.0 && (high - 0.0981).abs() < 1e-4);
    }

    /// Draws until two failures have shown, or 29 sessions are over, as a reproduction does.
    #[test]
    fn the_interval_covers_the_rate_in_most_samples() {
        for rate in [0.1, 0.3, 0.6] {
            let mut covered = 0;
            for seed in 0..200 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let (mut same, mut tried) = (0, 0);
                while tried < 29 && same < 2 {
                    same += u64::from(rng.random_bool(rate));
                    tried += 1;
                }
                let (low, high) = interval(same, tried, same == 2);
                covered += u64::from(low <= rate && rate <= high);
            }
            assert!(covered >= 186, "{covered} of 200 at {rate}");
        }
    }
}
