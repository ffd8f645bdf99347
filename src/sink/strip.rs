//! A heat strip: how a row of equal stretches of time went, as an inline SVG.
//!
//! Nothing is said by colour alone: the more of a stretch failed, the higher its bar stands, and a
//! stretch without a trial has none. Colours are the reader's: the paths have classes, `passed`,
//! `few`, `some`, `most` and `all`, and no style.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

/// How high a strip is, in its own units; a stretch is [`WIDE`] wide.
const HIGH: u32 = 16;
const WIDE: usize = 4;

/// Stretches of time, and how their trials went.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    since: Timestamp,
    stretch: SignedDuration,
    stretches: Vec<Trials>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trials {
    tried: u64,
    failed: u64,
}

/// How much of a stretch failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Untried,
    Passed,
    /// A tenth at most.
    Few,
    /// Half at most.
    Some,
    Most,
    All,
}

impl Level {
    const DRAWN: [Self; 5] = [Self::Passed, Self::Few, Self::Some, Self::Most, Self::All];

    const fn of(trials: Trials) -> Self {
        let Trials { tried, failed } = trials;
        match (tried, failed) {
            (0, _) => Self::Untried,
            (_, 0) => Self::Passed,
            (tried, failed) if failed >= tried => Self::All,
            (tried, failed) if failed <= tried / 10 => Self::Few,
            (tried, failed) if failed <= tried / 2 => Self::Some,
            _ => Self::Most,
        }
    }

    /// The class of its path, and how high its bars stand.
    const fn drawn(self) -> (&'static str, u32) {
        match self {
            Self::Untried => ("", 0),
            Self::Passed => ("passed", 4),
            Self::Few => ("few", 7),
            Self::Some => ("some", 10),
            Self::Most => ("most", 13),
            Self::All => ("all", HIGH),
        }
    }
}

impl Strip {
    /// An empty strip of `count` stretches from `since` on.
    pub(crate) fn new(since: Timestamp, stretch: SignedDuration, count: usize) -> Self {
        Self { since, stretch, stretches: vec![Trials::default(); count] }
    }

    /// Counts trials that began at this time; what lies outside is passed over.
    pub(crate) fn add(&mut self, at: Timestamp, tried: u64, failed: u64) {
        let (behind, stretch) = (at.duration_since(self.since).as_secs(), self.stretch.as_secs().max(1));
        let place = usize::try_from(behind.div_euclid(stretch)).ok();
        if let Some(trials) = place.and_then(|place| self.stretches.get_mut(place)) {
            trials.tried += tried;
            trials.failed += failed;
        }
    }

    /// Counts another strip's trials too, which is of the same time.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (trials, more) in self.stretches.iter_mut().zip(&other.stretches) {
            trials.tried += more.tried;
            trials.failed += more.failed;
        }
    }

    /// Trials and failures of all stretches.
    pub(crate) fn total(&self) -> (u64, u64) {
        self.stretches.iter().fold((0, 0), |(tried, failed), t| (tried + t.tried, failed + t.failed))
    }

    /// The strip for those who do not see it.
    pub(crate) fn in_words(&self) -> String {
        let (tried, failed) = self.total();
        let failing = |trials: &&Trials| trials.failed > 0;
        let mut places = self.stretches.iter().enumerate().filter(|(_, t)| failing(t)).map(|(place, _)| place);
        let first = places.next();
        match (tried, first, places.next_back().or(first)) {
            (0, ..) => "no session".to_owned(),
            (_, Some(first), Some(last)) => {
                let (from, to) = (self.begins(first), self.begins(last + 1));
                format!("{failed} of {tried} sessions failed, the failures between {from} and {to}")
            }
            _ => format!("all {tried} sessions passed"),
        }
    }

    fn begins(&self, place: usize) -> String {
        let behind = self.stretch.saturating_mul(i32::try_from(place).unwrap_or(i32::MAX));
        self.since.saturating_add(behind).unwrap_or(self.since).strftime("%Y-%m-%d %H:%M UTC").to_string()
    }

    /// The drawing: a path per level, neighbours of one level as one piece.
    pub(crate) fn svg(&self) -> String {
        let wide = self.stretches.len() * WIDE;
        let words = self.in_words();
        let mut out = format!(
            r#"<svg class="strip" viewBox="0 0 {wide} {HIGH}" preserveAspectRatio="none" role="img" aria-label="{words}">"#
        );
        for level in Level::DRAWN {
            let (class, high) = level.drawn();
            let (mut path, mut place) = (String::new(), 0);
            for piece in self.stretches.chunk_by(|a, b| Level::of(*a) == Level::of(*b)) {
                if Level::of(piece[0]) == level {
                    let (x, y, wide) = (place * WIDE, HIGH - high, piece.len() * WIDE);
                    // A String takes everything that is written to it.
                    _ = write!(path, "M{x} {y}h{wide}v{high}h-{wide}z");
                }
                place += piece.len();
            }
            if !path.is_empty() {
                _ = write!(out, r#"<path class="{class}" d="{path}"/>"#);
            }
        }
        out + "</svg>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(trials: &[(u64, u64)]) -> Strip {
        let since: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        let mut strip = Strip::new(since, SignedDuration::from_hours(1), trials.len());
        for (hour, (tried, failed)) in (0..).zip(trials) {
            strip.add(since + SignedDuration::from_mins(60 * hour + 59), *tried, *failed);
        }
        strip
    }

    #[test]
    fn every_level_has_its_height_and_neighbours_are_one_piece() {
        let drawn = strip(&[(4, 0), (4, 0), (0, 0), (20, 2), (4, 2), (4, 3), (4, 4)]).svg();
        for want in [
            r#"<path class="passed" d="M0 12h8v4h-8z"/>"#,
            r#"<path class="few" d="M12 9h4v7h-4z"/>"#,
            r#"<path class="some" d="M16 6h4v10h-4z"/>"#,
            r#"<path class="most" d="M20 3h4v13h-4z"/>"#,
            r#"<path class="all" d="M24 0h4v16h-4z"/>"#,
            r#"viewBox="0 0 28 16""#,
        ] {
            assert!(drawn.contains(want), "{want} is not in {drawn}");
        }
    }

    #[test]
    fn the_words_say_what_is_drawn() {
        for (trials, want) in [
            (&[(0, 0), (0, 0)][..], "no session"),
            (&[(2, 0), (3, 0)], "all 5 sessions passed"),
            (
                &[(4, 0), (4, 1), (0, 0), (4, 2)],
                "3 of 12 sessions failed, the failures between 2026-11-24 01:00 UTC and 2026-11-24 04:00 UTC",
            ),
        ] {
            assert_eq!(strip(trials).in_words(), want);
        }
    }

    #[test]
    fn what_is_outside_is_passed_over() {
        let mut strip = strip(&[(1, 0)]);
        for at in ["2026-11-23T23:59:59Z", "2026-11-24T01:00:00Z", "-009999-01-03T00:00:00Z"] {
            strip.add(at.parse().unwrap(), 5, 5);
        }
        assert_eq!(strip.total(), (1, 0));
    }
}
