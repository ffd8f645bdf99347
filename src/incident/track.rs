//! How one place has fared, round after round: enough of a memory to tell a fault from a stray
//! failure.

use jiff::Timestamp;

use crate::record::Between;

/// The failure rates that a round is weighed between: what noise brings about, and what is worth
/// waking somebody for.
const NOISE: f64 = 0.02;
const FAULT: f64 = 0.30;
/// How often either may be mistaken for the other.
const ERROR: f64 = 0.05;

/// What a failure adds to the logarithm of the likelihood of a fault against that of noise.
fn gain() -> f64 {
    (FAULT / NOISE).ln()
}

/// What a success takes from it.
fn loss() -> f64 {
    ((1.0 - NOISE) / (1.0 - FAULT)).ln()
}

/// Where the sequential test says "fault".
fn bound() -> f64 {
    ((1.0 - ERROR) / ERROR).ln()
}

/// What one round says of a place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Heard {
    pub(super) tried: u64,
    pub(super) failed: u64,
    pub(super) first_bad: Option<Timestamp>,
    pub(super) last_bad: Option<Timestamp>,
    pub(super) first_good: Option<Timestamp>,
    pub(super) last_good: Option<Timestamp>,
}

impl Heard {
    /// Takes in one session.
    pub(super) fn add(&mut self, failed: bool, at: Timestamp) {
        let (first, last) = if failed {
            (&mut self.first_bad, &mut self.last_bad)
        } else {
            (&mut self.first_good, &mut self.last_good)
        };
        *first = Some(first.map_or(at, |first| first.min(at)));
        *last = Some(last.map_or(at, |last| last.max(at)));
        self.tried += 1;
        self.failed += u64::from(failed);
    }

    /// Whether the round failed: its sessions are likelier where 30 % fail than where 2 % do, which
    /// is so from one failure in nine on. Nothing where nothing was tried.
    pub(super) fn failing(&self) -> Option<bool> {
        #[expect(clippy::cast_precision_loss, reason = "no round has 2^52 sessions")]
        let (failed, passed) = (self.failed as f64, (self.tried - self.failed) as f64);
        (self.tried > 0).then(|| failed * gain() > passed * loss())
    }
}

/// When and in which round trouble began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Onset {
    pub(super) round: u64,
    pub(super) opened: Between,
}

/// The rounds of one place, as far as they matter for what comes next.
///
/// Trouble is taken for real when so many rounds in a row have failed as the operator says, or, in a
/// mixed series, when as many have failed and the sequential test (SPRT; noise 2 %, fault 30 %, 5 %
/// for either error) says "fault". Its sum is never let below zero (Page's rule), so that a good
/// month does not hide a bad day; when it is back at zero, the series is over and forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// When it was last good, before the trouble.
    good: Option<Timestamp>,
    onset: Option<Onset>,
    in_a_row: u32,
    failing: u32,
    sum: f64,
    /// The round it was last heard of.
    pub(super) seen: u64,
}

impl Track {
    /// Takes in a round; true where it failed.
    pub(super) fn hear(&mut self, heard: &Heard, round: u64) -> bool {
        let Some(failing) = heard.failing() else { return false };
        self.seen = round;
        if failing {
            let by = heard.first_bad.unwrap_or_default();
            self.onset.get_or_insert(Onset { round, opened: Between { after: self.good, by } });
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.failing = self.failing.saturating_add(1);
            self.sum = (self.sum + gain()).min(2.0 * bound());
        } else {
            self.in_a_row = 0;
            self.sum -= loss();
            if self.sum <= 0.0 {
                self.settle();
            }
            if self.onset.is_none() {
                self.good = heard.last_good.or(self.good);
            }
        }
        failing
    }

    /// Another's trouble covers this place: it is remembered when it was last good, no more.
    pub(super) fn covered(&mut self, heard: &Heard, round: u64) {
        if let Some(failing) = heard.failing() {
            self.seen = round;
            self.settle();
            self.good = if failing { self.good } else { heard.last_good.or(self.good) };
        }
    }

    /// Forgets the series.
    pub(super) fn settle(&mut self) {
        (self.onset, self.in_a_row, self.failing, self.sum) = (None, 0, 0, 0.0);
    }

    /// Whether the trouble is real, where `after` failing rounds in a row make it so.
    pub(super) fn is_real(&self, after: u32) -> bool {
        self.in_a_row >= after || (self.failing >= after && self.sum >= bound())
    }

    pub(super) fn onset(&self) -> Option<Onset> {
        self.onset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of the rounds trouble is real: `F` failing, `.` clean, `-` nothing tried.
    fn real_after(rounds: &str, after: u32) -> Option<usize> {
        let mut track = Track::default();
        let at = |round: usize| Timestamp::from_second(i64::try_from(round).unwrap()).unwrap();
        rounds.chars().enumerate().find_map(|(round, how)| {
            let mut heard = Heard::default();
            if how != '-' {
                heard.add(how == 'F', at(round));
            }
            let failed = track.hear(&heard, round as u64);
            (failed && track.is_real(after)).then_some(round + 1)
        })
    }

    #[test]
    fn trouble_is_real_in_a_row_or_by_the_sequential_test() {
        let cases = [
            ("FF", 2, Some(2)),
            ("F", 1, Some(1)),
            ("........................FF", 2, Some(26)),
            ("F.F", 2, Some(3)),
            ("F--F", 2, Some(4)),
            ("F.......F", 2, Some(9)),
            ("F........F", 2, None),
            ("F..........F..........F..........F", 2, None),
            // More is asked for than the test needs.
            ("FFF.F", 5, None),
            ("FFF.FF", 5, Some(6)),
            ("FFFFF", 5, Some(5)),
            ("-----", 1, None),
        ];
        for (rounds, after, wanted) in cases {
            assert_eq!(real_after(rounds, after), wanted, "{rounds} after {after}");
        }
    }

    #[test]
    fn nine_clean_rounds_outweigh_a_failure_and_two_failures_are_a_fault() {
        assert!(gain() < bound() && 2.0 * gain() > bound());
        assert!(8.0 * loss() < bound() && 9.0 * loss() > bound());
    }

    #[test]
    fn a_round_fails_from_one_in_nine_on() {
        for (failed, tried, wanted) in
            [(0, 1, false), (1, 1, true), (1, 9, true), (1, 10, false), (3, 32, false), (4, 32, true), (8, 32, true)]
        {
            let heard = Heard { tried, failed, ..Heard::default() };
            assert_eq!(heard.failing(), Some(wanted), "{failed}/{tried}");
        }
        assert_eq!(Heard::default().failing(), None);
    }

    #[test]
    fn the_onset_lies_between_the_last_good_and_the_first_bad_round() {
        let mut track = Track::default();
        for (round, failed) in [(1, false), (2, false), (3, true), (4, false), (5, true)] {
            let mut heard = Heard::default();
            heard.add(failed, Timestamp::from_second(round).unwrap());
            track.hear(&heard, round.unsigned_abs());
        }
        let onset = track.onset().unwrap();
        assert_eq!(
            (onset.round, onset.opened.after.map(Timestamp::as_second), onset.opened.by.as_second()),
            (3, Some(2), 3)
        );
    }
}
