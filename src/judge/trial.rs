//! One session as the rules see it, and what it says of a stage.

use super::names::{Addr, Name, Said};
use super::statistics::float;
use crate::record::{Kind, Role, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// One session, or a count of deliveries, as far as the rules ask for it. The order is that of
/// time, then of content.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Trial {
    /// Milliseconds since the epoch.
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
    /// How many sessions this stands for: 1, or the count of a `passed` line.
    pub(crate) weight: u64,
    /// Those lie within so many milliseconds of `at`.
    pub(crate) spread: i64,
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

    /// Whether it lies between two times; of a count, whether some of it surely does: three of it,
    /// evenly spread, leave a chance of 5 % that none did.
    pub(crate) fn is_between(&self, first: i64, last: i64) -> bool {
        if self.spread == 0 {
            return (first..=last).contains(&self.at);
        }
        let overlap = last.min(self.at.saturating_add(self.spread)) - first.max(self.at.saturating_sub(self.spread));
        overlap > 0
            && float(self.weight) * float(overlap.unsigned_abs()) >= 3.0 * 2.0 * float(self.spread.unsigned_abs())
    }

    /// Whether it is a count of deliveries rather than a session.
    pub(crate) fn counted(&self) -> bool {
        self.seq == COUNTED
    }
}

/// Stands for the number of a session in what counts many.
pub(super) const COUNTED: u64 = u64::MAX;
