//! Passes and failures in the order of time: whether they are one stretch, or come at random.
//!
//! Apart from the rules that ask because the order of sessions that are folded is not on record: what
//! is known then is how many of them lie between which times.

use super::sentences::{probability, sessions};
use super::statistics::{float, runs_test};
use super::time::WINDOW;
use super::trial::Trial;

/// Where the order is not known over longer than this, in milliseconds, it may hide an outage.
const BLURRED: i64 = 60 * 1000;

/// What order in time shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    pub(super) failed: u64,
    pub(super) passed: u64,
    /// Unbroken stretches, of either.
    runs: u64,
    /// Whether no pass is known to lie between two failures.
    one_stretch: bool,
    /// Whether the order of some is not known, and whether that may hide an outage or a pair.
    folded: bool,
    blurred: bool,
}

impl Sequence {
    /// Those of `trials` that lie at the same time are in order.
    pub(super) fn new<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Self {
        let trials: Vec<&Trial> = trials.into_iter().collect();
        let is_folded = |t: &&Trial| t.last() > t.first();
        if trials.iter().any(is_folded) { Self::expected(&trials) } else { Self::counted(&trials) }
    }

    /// Of single sessions.
    fn counted(trials: &[&Trial]) -> Self {
        let (mut sequence, mut bad_runs, mut last) = (Self::default(), 0, None);
        for t in trials {
            let failed = t.failed();
            *(if failed { &mut sequence.failed } else { &mut sequence.passed }) += t.weight;
            if last != Some(failed) {
                sequence.runs += 1;
                bad_runs += u64::from(failed);
            }
            last = Some(failed);
        }
        Self { one_stretch: bad_runs == 1, ..sequence }
    }

    /// Of many sessions in one: as many stretches as there would be on an average, were each of them
    /// anywhere between the first and the last.
    fn expected(trials: &[&Trial]) -> Self {
        let (failed, passed): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|t| t.failed());
        let longest = |trials: &[&Trial]| trials.iter().map(|t| t.last().saturating_sub(t.first())).max().unwrap_or(0);
        // What is known more exactly lies among what is known less so.
        let (few, many) = if longest(&failed) <= longest(&passed) { (&failed, &passed) } else { (&passed, &failed) };
        let among = Flow::new(many);
        let (mut runs, mut end) = (0.0, None);
        for block in blocks(few) {
            let (own, others) = (float(block.weight), among.between(block.first, block.last));
            // Wald and Wolfowitz: the mean of the stretches of these, in random order with those.
            let within = own * (others + 1.0) / (own + others);
            let apart = end.map_or(1.0, |end| among.any(end, block.first));
            runs += within - 1.0 + apart;
            end = Some(block.last);
        }
        let ends = blocks(few).first().zip(blocks(few).last()).map_or(0.0, |(first, last)| {
            f64::from(u8::from(among.known_before(first.first))) + f64::from(u8::from(among.known_after(last.last)))
        });
        let (first, last) = (failed.iter().map(|t| t.first()).min(), failed.iter().map(|t| t.last()).max());
        let known = |at: i64| first < Some(at) && Some(at) < last;
        let one_stretch = first.is_some() && !passed.iter().any(|t| known(t.first()) || known(t.last()));
        Self {
            failed: sessions(failed.iter().copied()),
            passed: sessions(passed.iter().copied()),
            runs: whole(2.0 * runs - 1.0 + ends),
            one_stretch,
            folded: true,
            blurred: longest(few) > BLURRED || longest(many) >= WINDOW,
        }
    }

    /// Whether no pass lies between two failures, as far as it is on record.
    pub(super) fn one_stretch(self) -> bool {
        self.one_stretch
    }

    /// Whether it is not known over so long what came first that it may hide an outage, or sessions
    /// that differ in one thing.
    pub(super) fn is_blurred(self) -> bool {
        self.blurred
    }

    /// How likely so few stretches, or so many, are in random order.
    pub(super) fn p(self) -> f64 {
        runs_test(self.failed, self.passed, self.runs)
    }

    /// What the order of time shows.
    pub(super) fn said(self) -> Option<String> {
        if self.failed < 2 || self.passed == 0 {
            return None;
        }
        let about = if self.folded { "about " } else { "" };
        Some(if self.one_stretch() {
            format!("the {} failures are one unbroken stretch", self.failed)
        } else {
            format!(
                "passes and failures make {about}{} unbroken stretches in time ({} by the runs test)",
                self.runs,
                probability(self.p())
            )
        })
    }
}

/// Trials of one ending that lie in each other's time.
struct Block {
    first: i64,
    last: i64,
    weight: u64,
}

fn blocks(trials: &[&Trial]) -> Vec<Block> {
    let mut trials = trials.to_vec();
    trials.sort_unstable_by_key(|t| t.first());
    let mut blocks: Vec<Block> = Vec::new();
    for t in trials {
        match blocks.last_mut() {
            Some(block) if t.first() < block.last => {
                block.last = block.last.max(t.last());
                block.weight += t.weight;
            }
            _ => blocks.push(Block { first: t.first(), last: t.last(), weight: t.weight }),
        }
    }
    blocks
}

/// How many sessions of one ending there were by when.
struct Flow {
    /// When there was one for sure, in order.
    known: Vec<i64>,
    /// From when on how many there were by then, and how many there are in each millisecond, beside
    /// those that are known.
    rates: Vec<(i64, f64, f64)>,
}

impl Flow {
    fn new(trials: &[&Trial]) -> Self {
        let mut known: Vec<i64> = trials.iter().flat_map(|t| [t.first(), t.last()]).collect();
        known.sort_unstable();
        let unknown = trials.iter().filter(|t| t.weight > 2 && t.last() > t.first()).flat_map(|t| {
            let rate = float(t.weight - 2) / float(t.last().abs_diff(t.first()));
            [(t.first(), rate), (t.last(), -rate)]
        });
        let mut changes: Vec<(i64, f64)> = unknown.collect();
        changes.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut rates: Vec<(i64, f64, f64)> = Vec::with_capacity(changes.len());
        let (mut at, mut sum, mut rate) = (0, 0.0, 0.0);
        for (next, change) in changes {
            sum += rate * float(next.abs_diff(at));
            rate = f64::max(rate + change, 0.0);
            at = next;
            rates.push((at, sum, rate));
        }
        Self { known, rates }
    }

    /// How many lie between two times, on an average.
    fn between(&self, from: i64, to: i64) -> f64 {
        float(self.known_between(from, to) as u64) + self.unknown(to) - self.unknown(from)
    }

    /// How likely there is any between two times.
    fn any(&self, from: i64, to: i64) -> f64 {
        if self.known_between(from, to) > 0 { 1.0 } else { 1.0 - (self.unknown(from) - self.unknown(to)).exp() }
    }

    fn known_before(&self, at: i64) -> bool {
        self.known.first().is_some_and(|first| *first < at)
    }

    fn known_after(&self, at: i64) -> bool {
        self.known.last().is_some_and(|last| *last > at)
    }

    fn known_between(&self, from: i64, to: i64) -> usize {
        let up_to = |at: i64| self.known.partition_point(|known| *known <= at);
        up_to(to).saturating_sub(up_to(from))
    }

    fn unknown(&self, at: i64) -> f64 {
        let behind = self.rates.partition_point(|(from, ..)| *from <= at);
        let rate = behind.checked_sub(1).and_then(|i| self.rates.get(i));
        rate.map_or(0.0, |(from, sum, rate)| sum + rate * float(at.abs_diff(*from)))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}
