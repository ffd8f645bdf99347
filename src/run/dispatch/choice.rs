//! Which session starts next: the first in the plan's order that concurrency, pace, patience and the
//! ledger let go.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use super::{Dispatcher, Execute, Next, Place, cell};
use crate::ledger::{Admission, Ask, Ground};
use crate::plan::Attempt;
use crate::record::Variant;

impl<E: Execute> Dispatcher<E> {
    /// Finds the first session in the plan's order that may start now, and takes it off the queue.
    pub(super) fn next(&mut self) -> Next {
        let now = Instant::now();
        loop {
            let ((address, at), attempt) = match self.candidate(now) {
                Ok(found) => found,
                Err(wake) => return Next::Wait(wake),
            };
            let Some(next) = self.admit(attempt, now) else { continue };
            if let Some(queue) = self.queues.get_mut(&address) {
                queue.remove(at);
                if queue.is_empty() {
                    self.queues.remove(&address);
                }
            }
            return next;
        }
    }

    /// The first session that concurrency, pace and held rates leave; else when to look again.
    fn candidate(&self, now: Instant) -> Result<(Place, Arc<Attempt>), Option<Instant>> {
        let mut first: Option<(usize, Place, &Arc<Attempt>)> = None;
        let mut wake: Option<Instant> = None;
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for (address, queue) in &self.queues {
            let busy = address.and_then(|address| self.at_address.get(&address)).copied().unwrap_or(0);
            for (at, (order, attempt)) in queue.iter().enumerate() {
                if first.is_some_and(|(before, ..)| before < *order) {
                    break;
                }
                if attempt.fault.is_none() {
                    let limits = &attempt.probe.limits;
                    let here = self.at_provider.get(&attempt.provider).copied().unwrap_or(0);
                    let is_full = self.open.len() >= self.rules.room;
                    if is_full || busy >= limits.per_address || here >= limits.per_provider {
                        break;
                    }
                    let Some(due) = self.due(attempt) else { continue };
                    let due = self.held.get(&attempt.provider).map_or(due, |held| due.max(*held));
                    let due = self.patience(attempt).map_or(due, |end| due.min(end));
                    if due > now {
                        sooner(due);
                        continue;
                    }
                }
                first = Some((*order, (*address, at), attempt));
                break;
            }
        }
        first.map(|(_, place, attempt)| (place, Arc::clone(attempt))).ok_or(wake)
    }

    /// When the pace allows this attempt; `None` while the one before has not started.
    fn due(&self, attempt: &Attempt) -> Option<Instant> {
        let planned = self.part.begun + attempt.not_before;
        if attempt.number == 1 || attempt.variant == Variant::Plaintext {
            return Some(planned);
        }
        let (started, due) = self.due.get(&cell(attempt))?;
        (started + 1 == attempt.number).then_some(planned.max(*due))
    }

    /// Asks patience and the ledger. `None`: the provider is held from now on.
    fn admit(&mut self, attempt: Arc<Attempt>, now: Instant) -> Option<Next> {
        // Nothing will be opened: what is known of it needs no leave.
        let (None, Some(address)) = (&attempt.fault, attempt.address) else {
            return Some(Next::Start(attempt));
        };
        if self.patience(&attempt).into_iter().chain(self.part.deadline).any(|end| now >= end) {
            return Some(Next::Skip(attempt, "max-time: no session starts this late".to_owned()));
        }
        let ground = self.rules.terms.ground(&attempt.provider);
        let ask = Ask {
            run: &self.rules.run,
            account: &self.rules.terms.account(&attempt),
            ground,
            address: address.ip(),
            source: attempt.source.as_ref().map(|source| source.seen_as),
            first: attempt.is_first(),
            ignore_rest: attempt.probe.ignore_rest,
            limits: &attempt.probe.limits,
            now: self.rules.clock.now(),
        };
        match self.rules.ledger.admit(&ask) {
            Admission::Go => Some(Next::Start(attempt)),
            Admission::Skip(why) => Some(Next::Skip(attempt, why)),
            Admission::Wait(until) => {
                let rate = attempt.probe.limits.rate;
                let spacing = rate.per.div_f64(f64::from(rate.starts.max(1)));
                let until = self.rules.clock.instant(until) + spacing.mul_f64(self.jitter(ground));
                self.held.insert(Arc::clone(&attempt.provider), until.max(now + Duration::from_millis(1)));
                None
            }
        }
    }

    /// When the operator's patience with this session's start ends.
    fn patience(&self, attempt: &Attempt) -> Option<Instant> {
        attempt.probe.limits.max_time.map(|patience| self.rules.clock.begun() + patience)
    }

    /// Up to 30 % more where the provider is not our own: rates and paces are floors.
    pub(super) fn jitter(&mut self, ground: Ground) -> f64 {
        if ground == Ground::Foreign { self.rng.random_range(0.0..0.3) } else { 0.0 }
    }
}
