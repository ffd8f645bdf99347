//! The same cells again and again: the further attempts of a plan, which are counted and dealt and
//! never written down. A plan of a million sessions takes the room of its cells.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::Attempt;

/// Further attempts at each of some cells, round by round, each round in an order of its own.
#[derive(Clone, Debug)]
pub struct Rounds {
    cells: Vec<Arc<Attempt>>,
    /// Which attempts they are, counted from 1 at each cell.
    numbers: RangeInclusive<u32>,
    /// The number of the first session.
    first: u64,
    rng: ChaCha8Rng,
}

impl Rounds {
    /// `rng` decides on the orders; `first` is the number of the first session.
    pub(super) fn new(cells: Vec<Arc<Attempt>>, numbers: RangeInclusive<u32>, first: u64, rng: ChaCha8Rng) -> Self {
        Self { cells, numbers, first, rng }
    }

    /// The cells; which attempt an [`Attempt`] here says that it is means nothing.
    #[must_use]
    pub fn cells(&self) -> &[Arc<Attempt>] {
        &self.cells
    }

    /// How many attempts at each cell.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.numbers.clone().count() as u64
    }

    /// How many sessions in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count() * self.cells.len() as u64
    }

    /// Whether there is nothing to do again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session that is at this place of the order, counted from 0, at the cell with this index.
    #[must_use]
    pub fn attempt(&self, place: u64, cell: usize) -> Option<Arc<Attempt>> {
        let round = place.checked_div(self.cells.len() as u64)?;
        let number = self.numbers.start().checked_add(u32::try_from(round).ok()?)?;
        let known = self.cells.get(cell)?;
        Some(Arc::new(Attempt { number, seq: self.first + place, ..Attempt::clone(known) }))
    }

    /// The order of each round, in turn: indices of cells.
    pub fn orders(&self) -> impl Iterator<Item = Vec<usize>> + Send + use<> {
        let (mut rng, addresses) = (self.rng.clone(), addresses(&self.cells));
        self.numbers.clone().map(move |_| dealt(&addresses, &mut rng))
    }

    /// All sessions, in their order.
    pub fn attempts(&self) -> impl Iterator<Item = Arc<Attempt>> + Send + '_ {
        let cells = self.orders().flatten();
        (0..).zip(cells).filter_map(|(place, cell)| self.attempt(place, cell))
    }

    /// The same without the cells that `keep` does not want, numbered from `first`.
    pub(super) fn kept(mut self, keep: impl FnMut(&Arc<Attempt>) -> bool, first: u64) -> Self {
        self.cells.retain(keep);
        Self { first, ..self }
    }
}

/// Which address each cell is at, by a number that means nothing else.
pub(super) fn addresses(cells: &[Arc<Attempt>]) -> Vec<usize> {
    let mut known = HashMap::new();
    cells
        .iter()
        .map(|cell| {
            let next = known.len();
            *known.entry(cell.address).or_insert(next)
        })
        .collect()
}

/// Shuffles the cells, then deals them in rounds of one per address. Of cells in an order that is
/// all chance the last few are at a few addresses, and a run ends waiting for those.
pub(super) fn dealt(addresses: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut cells: Vec<usize> = (0..addresses.len()).collect();
    cells.shuffle(rng);
    let mut dealt_to = vec![0_usize; addresses.len()];
    let mut rounds: Vec<(usize, usize)> = cells
        .into_iter()
        .map(|cell| {
            let dealt = &mut dealt_to[addresses[cell]];
            *dealt += 1;
            (*dealt, cell)
        })
        .collect();
    // Stable: within a round the order stays that of chance.
    rounds.sort_by_key(|(round, _)| *round);
    rounds.into_iter().map(|(_, cell)| cell).collect()
}
