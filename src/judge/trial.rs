//! One session as the rules see it, or many that say the same, and what they say of a stage.

use super::names::{Addr, Name, Said};
use super::statistics::float;
use crate::record::{Kind, Role, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// One session, several that say the same, or a count of deliveries, as far as the rules ask for it.
/// The order is that of time, then of content.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Trial {
    /// Milliseconds since the epoch; of several, the middle between the first and the last.
    pub(crate) at: i64,
    pub(crate) run: Option<Name>,
    pub(crate) seq: u64,
    pub(crate) source: Option<Addr>,
    pub(crate) address: Option<Addr>,
    pub(crate) role: Role,
    pub(crate) variant: Variant,
    pub(crate) domain: Option<Name>,
    pub(crate) mx: Option<Name>,
    pub(crate) backend: Option<Name>,
    pub(crate) greeting: Option<Name>,
    /// The names in the certificate.
    pub(crate) certificate: Option<Name>,
    pub(crate) seen_as: Option<Addr>,
    pub(crate) from: Option<Name>,
    pub(crate) to: Option<Name>,
    pub(crate) until: Stage,
    pub(crate) kind: Kind,
    pub(crate) stage: Option<Stage>,
    pub(crate) code: Option<Code>,
    pub(crate) enhanced: Option<Enhanced>,
    pub(crate) tag: Option<Name>,
    pub(crate) said: Option<Said>,
    /// What we say of it, where no reply does.
    pub(crate) detail: Option<Name>,
    /// Whether a handshake was begun.
    pub(crate) tls: bool,
    /// Whether its certificate held.
    pub(crate) verified: bool,
    pub(crate) expected: bool,
    pub(crate) inconsistent: bool,
    pub(crate) overload: bool,
    /// Whether it has a sender or recipient that is one of too many to be known by name.
    pub(crate) nameless: bool,
    /// How many sessions this stands for, or the count of a `passed` line.
    pub(crate) weight: u64,
    /// Milliseconds from the first of those to the last.
    pub(crate) extent: i64,
}

impl Trial {
    pub(crate) fn failed(&self) -> bool {
        self.kind != Kind::Completed
    }

    /// What is left of a failure that is explained: a pass up to the stage before.
    pub(crate) fn excused(self) -> Self {
        let ended = self.stage.unwrap_or(Stage::Resolve);
        let until = Stage::ALL.iter().copied().rev().find(|s| *s < ended).unwrap_or(Stage::Resolve);
        Self {
            kind: Kind::Completed,
            stage: Some(until),
            until,
            code: None,
            enhanced: None,
            tag: None,
            said: None,
            ..self
        }
    }

    /// What it says of a stage: whether the session came that far and ended there; of the whole
    /// session without a stage. `None` where it ended before.
    pub(crate) fn failed_at(&self, question: Option<Stage>) -> Option<bool> {
        let Some(asked) = question else { return Some(self.failed()) };
        let came_to = if self.failed() { self.stage.unwrap_or(Stage::Resolve) } else { self.until };
        (came_to >= asked).then(|| self.failed() && came_to == asked)
    }

    /// When the first of its sessions was; a count of deliveries is taken for its middle.
    pub(crate) fn first(&self) -> i64 {
        if self.counted() { self.at } else { self.at.saturating_sub(self.extent / 2) }
    }

    /// When the last of its sessions was.
    pub(crate) fn last(&self) -> i64 {
        if self.counted() { self.at } else { self.first().saturating_add(self.extent) }
    }

    /// When the first of its sessions was that is not before `since`, as though they lay evenly.
    pub(crate) fn first_since(&self, since: i64) -> Option<i64> {
        let (first, last) = (self.first(), self.last());
        if since <= first || since > last {
            return (since <= first).then_some(first);
        }
        let gaps = i128::from(self.weight.max(2) - 1);
        let (extent, into) = (i128::from(last) - i128::from(first), i128::from(since) - i128::from(first));
        let behind = (into * gaps + extent - 1) / extent * extent / gaps;
        Some(i64::try_from(behind).map_or(last, |behind| first.saturating_add(behind)).clamp(since, last))
    }

    /// The milliseconds between two that do not overlap in time.
    pub(crate) fn apart(&self, other: &Self) -> i64 {
        self.first().saturating_sub(other.last()).max(other.first().saturating_sub(self.last())).max(0)
    }

    /// Whether one of its sessions lies between two times, or surely some do of which the times are
    /// not known: three of them, evenly spread, leave a chance of 5 % that none does.
    pub(crate) fn is_between(&self, first: i64, last: i64) -> bool {
        let (half, within) = (self.extent / 2, |at: i64| (first..=last).contains(&at));
        let known = half == 0 || !self.counted();
        if known && (within(self.first()) || within(self.last())) {
            return true;
        }
        let overlap = last.min(self.at.saturating_add(half)) - first.max(self.at.saturating_sub(half));
        overlap > 0 && float(self.weight) * float(overlap.unsigned_abs()) >= 3.0 * 2.0 * float(half.unsigned_abs())
    }

    /// Whether it is a count of deliveries rather than sessions.
    pub(crate) fn counted(&self) -> bool {
        self.seq == COUNTED
    }
}

/// Stands for the number of a session in what counts many deliveries.
pub(super) const COUNTED: u64 = u64::MAX;
