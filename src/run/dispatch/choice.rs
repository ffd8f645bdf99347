//! Which session starts next: the first in the plan's order that concurrency, pace, patience and the
//! ledger let go.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use super::queue::Found;
use super::{Dispatcher, Execute, Next};
use crate::ledger::{Admission, Ask, Ground};
use crate::plan::Attempt;

impl<E: Execute> Dispatcher<E> {
    /// Finds the first session in the plan's order that may start now.
    pub(super) fn next(&mut self) -> Next {
        let now = Instant::now();
        loop {
            match self.queue.next(now, self.open.len() < self.rules.room) {
                Found::Known(attempt) => return Next::Start(None, attempt),
                Found::Nothing(wake) => return Next::Wait(wake),
                Found::Due(lane, attempt) => {
                    if let Some(next) = self.admit(lane, attempt, now) {
                        return next;
                    }
                }
            }
        }
    }

    /// Asks patience and the ledger. `None`: the provider is held from now on.
    fn admit(&mut self, lane: usize, attempt: Arc<Attempt>, now: Instant) -> Option<Next> {
        if self.queue.patience(&attempt).into_iter().chain(self.part.deadline).any(|end| now >= end) {
            return Some(Next::Skip(lane, attempt, "max-time: no session starts this late".to_owned()));
        }
        let ground = self.rules.terms.ground(&attempt.provider);
        let ask = Ask {
            run: &self.rules.run,
            account: &self.rules.terms.account(&attempt),
            ground,
            address: attempt.address?.ip(),
            source: attempt.source.as_ref().map(|source| source.seen_as),
            first: attempt.is_first(),
            ignore_rest: attempt.probe.ignore_rest,
            limits: &attempt.probe.limits,
            now: self.rules.clock.now(),
        };
        match self.rules.ledger.admit(&ask) {
            Admission::Go => Some(Next::Start(Some(lane), attempt)),
            Admission::Skip(why) => Some(Next::Skip(lane, attempt, why)),
            Admission::Wait(until) => {
                let rate = attempt.probe.limits.rate;
                let spacing = rate.per.div_f64(f64::from(rate.starts.max(1)));
                let until = self.rules.clock.instant(until) + spacing.mul_f64(self.jitter(ground));
                self.queue.hold(lane, until.max(now + Duration::from_millis(1)));
                None
            }
        }
    }

    /// Up to 30 % more where the provider is not our own: rates and paces are floors.
    pub(super) fn jitter(&mut self, ground: Ground) -> f64 {
        if ground == Ground::Foreign { self.rng.random_range(0.0..0.3) } else { 0.0 }
    }
}
