//! Where each cell stands in each round of a plan's further attempts.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::plan::{Attempt, Rounds};

/// The orders of the rounds, each made when its first session is asked for and forgotten with its
/// last: cells are apart by as many rounds as one may be ahead of another.
pub(super) struct Orders {
    rounds: Rounds,
    /// The place of the first session in the plan's order.
    base: u64,
    to_come: Box<dyn Iterator<Item = Vec<usize>> + Send>,
    made: VecDeque<Round>,
    /// How many rounds are forgotten.
    gone: u64,
}

/// The places of all cells in a round, and how many of them have not been asked for.
struct Round {
    places: Vec<u32>,
    unasked: usize,
}

impl Orders {
    pub(super) fn new(rounds: Rounds, base: u64) -> Self {
        let to_come = Box::new(rounds.orders());
        Self { rounds, base, to_come, made: VecDeque::new(), gone: 0 }
    }

    /// The cell's attempt in this round, counted from 0, and its place in the plan's order; to be
    /// asked once for each.
    pub(super) fn attempt(&mut self, round: u64, cell: usize) -> Option<(u64, Arc<Attempt>)> {
        let at = usize::try_from(round.checked_sub(self.gone)?).ok()?;
        while self.made.len() <= at {
            let order = self.to_come.next()?;
            let mut places = vec![0; order.len()];
            for (place, cell) in (0..).zip(&order) {
                places[*cell] = place;
            }
            self.made.push_back(Round { places, unasked: order.len() });
        }
        let known = self.made.get_mut(at)?;
        known.unasked -= 1;
        let within = round * known.places.len() as u64 + u64::from(*known.places.get(cell)?);
        while self.made.front().is_some_and(|round| round.unasked == 0) {
            self.made.pop_front();
            self.gone += 1;
        }
        Some((self.base + within, self.rounds.attempt(within, cell)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stretch;
    use crate::run::dispatch::tests::World;

    #[test]
    fn every_attempt_is_where_the_plan_has_it_and_no_more_rounds_are_kept_than_cells_are_apart() {
        let mut world = World::default();
        (world.sources, world.addresses, world.limits.attempts) = (3, 2, 40);
        let plan = world.plan().0;
        let [_, Stretch::Again(rounds)] = &plan.stretches[..] else { panic!("{plan:?}") };
        let wanted: Vec<_> = rounds.attempts().collect();
        let (mut orders, mut found) = (Orders::new((**rounds).clone(), 6), Vec::new());
        for round in 0..39 {
            // One cell is ten rounds ahead of the others.
            let ahead = if round == 0 { 0..11 } else { round + 10..round + 11 };
            found.extend(ahead.filter_map(|round| orders.attempt(round, 0)));
            found.extend((1..6).filter_map(|cell| orders.attempt(round, cell)));
            assert!(orders.made.len() <= 11, "{} rounds", orders.made.len());
        }
        found.sort_by_key(|(place, _)| *place);
        assert!(found.iter().map(|(place, _)| *place).eq(6..240), "{:?}", found.len());
        let of = |attempt: &Arc<Attempt>| (attempt.seq, attempt.number, attempt.address, attempt.source.clone());
        assert!(found.iter().map(|(_, attempt)| of(attempt)).eq(wanted.iter().map(of)));
    }
}
