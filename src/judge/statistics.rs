//! The arithmetic of the judge: exact tests, intervals and sample sizes.
//!
//! Apart from the rest because it knows nothing of mail: every function takes counts and returns
//! numbers, and its tests are published values.

/// Upper limit of what a 95 % statement leaves open.
const ALPHA: f64 = 0.05;
/// The standard normal quantile at 97.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// A count as a float; beyond 2^53 it loses digits that no test would notice.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) const fn float(n: u64) -> f64 {
    n as f64
}

/// Fisher's exact test, two-sided, of `a` in `a + b` against `c` in `c + d`: the sum over all
/// tables with the same margins that are no likelier than this one.
#[must_use]
#[expect(clippy::many_single_char_names, reason = "the table's cells have these names in every textbook")]
pub fn fisher(a: u64, b: u64, c: u64, d: u64) -> f64 {
    let (row, rest, column) = (a + b, c + d, a + c);
    let n = row + rest;
    if row == 0 || rest == 0 || column == 0 || column == n {
        return 1.0;
    }
    let total = ln_choose(n, column);
    let pmf = |x: u64| (ln_choose(row, x) + ln_choose(rest, column - x) - total).exp();
    let (low, high) = (column.saturating_sub(rest), row.min(column));
    // The distribution has one peak, so the tables to add up are a tail on either side of it.
    let mode = ((float(row) + 1.0) * (float(column) + 1.0) / (float(n) + 2.0)).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between low and high")]
    let mode = (mode as u64).clamp(low, high);
    let limit = pmf(a) * (1.0 + 1e-7);
    let up_to = first(low, mode, |x| pmf(x) > limit);
    let from = first(mode, high + 1, |x| pmf(x) <= limit);
    let below = tail((low..up_to).rev(), pmf);
    let above = tail(from.max(up_to)..=high, pmf);
    (below + above).min(1.0)
}

/// The first in `low..high` for which `holds`, `high` if none does; `holds` changes at most once.
fn first(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// A sum of falling terms, up to where they no longer count.
fn tail(range: impl Iterator<Item = u64>, pmf: impl Fn(u64) -> f64) -> f64 {
    let mut sum = 0.0;
    for x in range {
        let term = pmf(x);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// ln(n choose k), minus infinity where there is no such choice.
#[must_use]
pub fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n { f64::NEG_INFINITY } else { ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) }
}

fn ln_factorial(n: u64) -> f64 {
    if n <= 20 {
        return float((2..=n).product::<u64>()).ln();
    }
    // Stirling's series; the first term left out is below 1e-15 from here on.
    let x = float(n);
    let series = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * x * x)) / (x * x)) / (x * x)) / x;
    (x + 0.5).mul_add(x.ln(), -x) + 0.918_938_533_204_672_7 + series
}

/// Wilson's 95 % interval for a rate of `failed` in `tried`.
#[must_use]
pub fn wilson(failed: u64, tried: u64) -> (f64, f64) {
    if tried == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (float(tried), float(failed) / float(tried));
    let scale = 1.0 + Z * Z / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let low = if failed == 0 { 0.0 } else { (centre - half) / scale };
    let high = if failed == tried { 1.0 } else { (centre + half) / scale };
    (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))
}

/// The one-sided 95 % upper bound for a fault that did not show in `tried`: a fault at this rate
/// would have shown in 95 of 100 such series.
#[must_use]
pub fn could_have_missed(tried: u64) -> f64 {
    if tried == 0 { 1.0 } else { 1.0 - ALPHA.powf(1.0 / float(tried)) }
}

/// How many trials without a failure exclude a fault of this rate at 95 %.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; saturates")]
pub fn sample_size(rate: f64) -> u64 {
    if rate >= 1.0 {
        return 1;
    }
    if rate <= 0.0 {
        return u64::MAX;
    }
    (ALPHA.ln() / (1.0 - rate).ln() - 1e-9).ceil() as u64
}

/// The runs test of Wald and Wolfowitz, exact and two-sided: how likely so few, or so many,
/// unbroken stretches are when `failed` failures lie among `passed` passes in random order.
#[must_use]
pub fn runs_test(failed: u64, passed: u64, runs: u64) -> f64 {
    if failed == 0 || passed == 0 {
        return 1.0;
    }
    let pmf = |r: u64| runs_exactly(failed, passed, r);
    let few: f64 = (2..=runs).map(pmf).sum();
    let many = 1.0 - few + pmf(runs);
    (2.0 * few.min(many)).clamp(0.0, 1.0)
}

fn runs_exactly(failed: u64, passed: u64, runs: u64) -> f64 {
    let total = ln_choose(failed + passed, failed);
    let choose = |n: u64, k: u64| ln_choose(n - 1, k);
    let k = runs / 2;
    if runs < 2 {
        0.0
    } else if runs.is_multiple_of(2) {
        2.0 * (choose(failed, k - 1) + choose(passed, k - 1) - total).exp()
    } else {
        (choose(failed, k) + choose(passed, k - 1) - total).exp()
            + (choose(failed, k - 1) + choose(passed, k) - total).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, wanted: f64, tolerance: f64) {
        assert!((found - wanted).abs() <= tolerance, "found {found}, wanted {wanted}");
    }

    #[test]
    fn fisher_agrees_with_the_books() {
        close(fisher(4, 0, 0, 4), 0.028_571_4, 1e-7);
        close(fisher(5, 0, 0, 5), 0.007_936_5, 1e-7);
        close(fisher(8, 0, 0, 24), 9.507e-8, 1e-11);
        close(fisher(3, 0, 0, 3), 0.1, 1e-9);
        // Fisher's tea, and R's documentation of fisher.test: convictions of twins, job satisfaction.
        close(fisher(3, 1, 1, 3), 0.485_714_3, 1e-7);
        close(fisher(2, 15, 10, 3), 0.000_536_7, 1e-7);
        // Agresti, Categorical Data Analysis, and the dieting example: 1/9 against 11/3.
        close(fisher(1, 9, 11, 3), 0.002_759_5, 1e-7);
        close(fisher(0, 5, 5, 0), 0.007_936_5, 1e-7);
    }

    #[test]
    fn fisher_is_the_sum_over_all_tables() {
        for a in 0..6u64 {
            for b in 0..6u64 {
                for c in 0..7u64 {
                    for d in 0..5u64 {
                        close(fisher(a, b, c, d), by_hand(a, b, c, d), 1e-9);
                    }
                }
            }
        }
    }

    fn by_hand(a: u64, b: u64, c: u64, d: u64) -> f64 {
        let (row, rest, column) = (a + b, c + d, a + c);
        let weight = |x: u64| choose(row, x) * choose(rest, column.wrapping_sub(x));
        let here = weight(a);
        let all: f64 = (0..=column).map(weight).sum();
        (0..=column).map(weight).filter(|&w| w <= here * 1.000_000_1).sum::<f64>() / all
    }

    fn choose(n: u64, k: u64) -> f64 {
        if k > n { 0.0 } else { (0..k).map(|i| float(n - i) / float(i + 1)).product() }
    }

    #[test]
    fn fisher_takes_millions() {
        let p = fisher(100, 999_900, 180, 999_820);
        assert!(p > 1e-7 && p < 1e-5, "{p}");
        assert!(fisher(500_000, 0, 0, 500_000) < 1e-300);
        close(fisher(500, 999_500, 500, 999_500), 1.0, 1e-9);
    }

    #[test]
    fn wilson_agrees_with_the_books() {
        for (failed, tried, low, high) in [
            (1, 8, 0.0224, 0.4709),
            (8, 8, 0.6756, 1.0),
            (0, 8, 0.0, 0.3244),
            (3, 29, 0.0358, 0.2639),
            // Newcombe 1998, table I, method 3.
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(failed, tried);
            close(l, low, 5e-5);
            close(h, high, 5e-5);
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn bounds_and_sizes_agree_with_each_other() {
        close(could_have_missed(29), 0.098, 5e-4);
        close(could_have_missed(30), 0.095, 5e-4);
        for (rate, n) in [(0.5, 5), (0.2, 14), (0.1, 29), (0.05, 59), (0.01, 299)] {
            assert_eq!(sample_size(rate), n);
            assert!(could_have_missed(n) <= rate && could_have_missed(n - 1) > rate);
        }
        // 9 in 3,000 messages.
        assert_eq!(sample_size(0.003), 998);
        close(could_have_missed(0), 1.0, 0.0);
    }

    #[test]
    fn runs_are_counted_exactly() {
        // Swed and Eisenhart 1943: with 5 and 5, P(R <= 2) = 2/252, P(R <= 3) = 10/252.
        close(runs_test(5, 5, 2), 2.0 * 2.0 / 252.0, 1e-9);
        close(runs_test(5, 5, 3), 2.0 * 10.0 / 252.0, 1e-9);
        close(runs_test(10, 10, 6), 2.0 * 0.019, 1e-3);
        close(runs_test(5, 5, 10), 2.0 * 2.0 / 252.0, 1e-9);
        close(runs_test(3, 0, 1), 1.0, 0.0);
        // Every number of runs that can be has its share, and they add up.
        for (failed, passed) in [(1, 1), (1, 9), (4, 7), (12, 5)] {
            let sum: f64 = (2..=failed + passed).map(|r| runs_exactly(failed, passed, r)).sum();
            close(sum, 1.0, 1e-9);
        }
    }
}
