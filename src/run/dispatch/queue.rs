//! What is still to be started, in the plan's order: of each cell its next attempt, and of each
//! address the first of those that are due.
//!
//! A plan may hold millions of sessions at a few cells. What is kept is as large as the cells are
//! many, and the next session is found in the same time however many are left.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::lane::{Cell, Lane, Todo, cell};
use crate::plan::{Attempt, Plan, Stretch};
use crate::record::Role;

mod orders;

use orders::Orders;

/// How many attempts there were at a cell, and when the pace allows the next one.
pub(super) type SoFar = HashMap<Cell, (u32, Instant)>;

/// Everything that is still to be started.
pub(super) struct Queue {
    /// When the run began, and when this plan did.
    begun: (Instant, Instant),
    lanes: Vec<Lane>,
    cells: HashMap<(Cell, usize), usize>,
    addresses: Vec<Address>,
    by_address: HashMap<SocketAddr, usize>,
    providers: Vec<Provider>,
    by_provider: HashMap<Arc<str>, usize>,
    orders: Vec<Orders>,
    /// Lanes whose next attempt is not due yet.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Nothing will be opened for these: what is known of them holds already.
    known: VecDeque<Arc<Attempt>>,
    /// Lanes that held one session, which is over.
    spare: Vec<usize>,
    /// How many lanes have an attempt left.
    left: usize,
    /// Whose turn it was when any would do.
    turn: usize,
}

/// An address, and what is due there.
#[derive(Default)]
struct Address {
    provider: usize,
    open: usize,
    /// By the place in the plan's order.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// The place under which its provider has it, while there is room at it for one more.
    offered: Option<u64>,
}

/// A provider, and those of its addresses that have room and something due.
#[derive(Default)]
struct Provider {
    open: usize,
    /// No session of it allows more at once.
    most: usize,
    /// Its rate is used up until then.
    held: Option<Instant>,
    offers: BTreeSet<(u64, usize)>,
}

/// What the search for a session came to.
pub(super) enum Found {
    /// Nothing is to be opened for it.
    Known(Arc<Attempt>),
    /// The head of this lane may start, as far as concurrency and pace go.
    Due(usize, Arc<Attempt>),
    /// Nothing before then, unless a session ends.
    Nothing(Option<Instant>),
}

impl Queue {
    /// Everything in the plan, which begins now; the run began before.
    pub(super) fn new(plan: Plan, so_far: &SoFar, run: Instant, now: Instant) -> Self {
        let mut queue = Self {
            begun: (run, now),
            lanes: Vec::new(),
            cells: HashMap::new(),
            addresses: Vec::new(),
            by_address: HashMap::new(),
            providers: Vec::new(),
            by_provider: HashMap::new(),
            orders: Vec::new(),
            waiting: BinaryHeap::new(),
            known: VecDeque::new(),
            spare: Vec::new(),
            left: 0,
            turn: 0,
        };
        queue.take_in(plan, so_far);
        for lane in 0..queue.lanes.len() {
            queue.advance(lane);
        }
        queue
    }

    fn take_in(&mut self, plan: Plan, so_far: &SoFar) {
        let mut place = 1;
        for stretch in plan.stretches {
            match stretch {
                Stretch::Listed(attempts) => {
                    for attempt in attempts {
                        place += 1;
                        match attempt.address.filter(|_| attempt.fault.is_none()) {
                            None => self.known.push_back(attempt),
                            Some(address) => {
                                let lane = self.lane(&attempt, address, so_far);
                                self.lanes[lane].todo.push_back(Todo::One(place, attempt));
                            }
                        }
                    }
                }
                Stretch::Again(rounds) => {
                    for (cell, attempt) in rounds.cells().iter().enumerate() {
                        let Some(address) = attempt.address else { continue };
                        let lane = self.lane(attempt, address, so_far);
                        self.lanes[lane].todo.push_back(Todo::Again { orders: self.orders.len(), cell, round: 0 });
                    }
                    let first = place + 1;
                    place += rounds.len();
                    self.orders.push(Orders::new(*rounds, first));
                }
            }
        }
    }

    /// The lane of an attempt's cell. Two probes may meet at a cell, and neither waits for the other.
    fn lane(&mut self, attempt: &Attempt, address: SocketAddr, so_far: &SoFar) -> usize {
        let cell = cell(attempt);
        let so_far = so_far.get(&cell).copied();
        let key = (cell, Arc::as_ptr(&attempt.probe).addr());
        if let Some(&lane) = self.cells.get(&key) {
            return lane;
        }
        let lane = self.push(attempt, address, so_far);
        self.cells.insert(key, lane);
        lane
    }

    fn push(&mut self, attempt: &Attempt, address: SocketAddr, so_far: Option<(u32, Instant)>) -> usize {
        let next = self.providers.len();
        let provider = *self.by_provider.entry(Arc::clone(&attempt.provider)).or_insert(next);
        if provider == next {
            self.providers.push(Provider::default());
        }
        let most = &mut self.providers[provider].most;
        *most = attempt.probe.limits.per_provider.max(*most);
        let next = self.addresses.len();
        let address = *self.by_address.entry(address).or_insert(next);
        if address == next {
            self.addresses.push(Address { provider, ..Address::default() });
        }
        let lane = Lane::new(address, attempt.role, so_far);
        if let Some(spare) = self.spare.pop() {
            self.lanes[spare] = lane;
            return spare;
        }
        self.lanes.push(lane);
        self.lanes.len() - 1
    }

    /// Puts a session before everything else; it is no further attempt at its cell.
    pub(super) fn push_front(&mut self, attempt: Arc<Attempt>) {
        let Some(address) = attempt.address else { return };
        let lane = self.push(&attempt, address, None);
        self.lanes[lane].is_once = true;
        self.lanes[lane].todo.push_back(Todo::One(0, attempt));
        self.advance(lane);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left == 0 && self.known.is_empty()
    }

    /// Finds the first session in the plan's order that may start now; with `room` for none more,
    /// only such as nothing is opened for.
    pub(super) fn next(&mut self, now: Instant, room: bool) -> Found {
        while let Some(Reverse((due, lane))) = self.waiting.peek().copied()
            && due <= now
        {
            self.waiting.pop();
            self.ready(lane);
        }
        if let Some(attempt) = self.known.pop_front() {
            return Found::Known(attempt);
        }
        let mut wake = self.waiting.peek().map(|Reverse((due, _))| *due);
        let mut first: Option<(u64, usize, &Arc<Attempt>)> = None;
        for provider in self.providers.iter().filter(|provider| room && provider.open < provider.most) {
            let mut offers = provider.offers.iter().filter_map(|offer| self.offer(offer));
            let offer = offers.find(|(.., attempt)| provider.open < attempt.probe.limits.per_provider);
            let Some(offer) = offer else { continue };
            let until =
                self.patience(offer.2).into_iter().chain(provider.held).min().filter(|_| provider.held.is_some());
            match until {
                Some(until) if until > now => wake = Some(wake.map_or(until, |wake| wake.min(until))),
                _ if first.is_none_or(|(place, ..)| offer.0 < place) => first = Some(offer),
                _ => {}
            }
        }
        first.map_or(Found::Nothing(wake), |(_, lane, attempt)| Found::Due(lane, Arc::clone(attempt)))
    }

    fn offer(&self, &(place, address): &(u64, usize)) -> Option<(u64, usize, &Arc<Attempt>)> {
        let Reverse((_, lane)) = *self.addresses[address].due.peek()?;
        Some((place, lane, &self.lanes[lane].head.as_ref()?.1))
    }

    /// No session of this lane's provider starts before then.
    pub(super) fn hold(&mut self, lane: usize, until: Instant) {
        let provider = self.addresses[self.lanes[lane].address].provider;
        self.providers[provider].held = Some(until);
    }

    /// The head of this lane is started. The pace allows its next attempt at `due`.
    pub(super) fn started(&mut self, lane: usize, due: Option<Instant>) {
        let address = self.lanes[lane].address;
        self.addresses[address].open += 1;
        self.providers[self.addresses[address].provider].open += 1;
        self.done(lane, due);
    }

    /// The head of this lane will not be started; a next attempt need not wait for it.
    pub(super) fn skipped(&mut self, lane: usize, now: Instant) {
        let due = self.lanes[lane].so_far.map_or(now, |(_, due)| due);
        self.done(lane, Some(due));
    }

    fn done(&mut self, lane: usize, due: Option<Instant>) {
        let known = &mut self.lanes[lane];
        if let (Some((_, attempt)), Some(due)) = (known.head.take(), due) {
            known.so_far = Some((attempt.number, due));
        }
        let address = known.address;
        self.addresses[address].due.pop();
        self.left -= 1;
        self.advance(lane);
        self.settle(address);
    }

    /// A session of this lane is over.
    pub(super) fn ended(&mut self, lane: usize) {
        let address = self.lanes[lane].address;
        self.addresses[address].open -= 1;
        self.providers[self.addresses[address].provider].open -= 1;
        self.settle(address);
        self.spare.extend(Some(lane).filter(|lane| self.lanes[*lane].is_once));
    }

    /// Drops everything but the controls.
    pub(super) fn keep_controls(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.role != Role::Control) {
            self.left -= usize::from(lane.head.take().is_some());
            lane.todo.clear();
        }
        self.known.retain(|attempt| attempt.role == Role::Control);
        self.waiting.retain(|Reverse((_, lane))| self.lanes[*lane].head.is_some());
        for address in 0..self.addresses.len() {
            self.addresses[address].due.retain(|Reverse((_, lane))| self.lanes[*lane].head.is_some());
            self.settle(address);
        }
    }

    /// Takes any of what is left, each cell's next attempts in turn, whatever they wait for.
    pub(super) fn pop_any(&mut self) -> Option<Arc<Attempt>> {
        if let Some(attempt) = self.known.pop_front() {
            return Some(attempt);
        }
        if self.left == 0 {
            return None;
        }
        loop {
            self.turn = (self.turn + 1) % self.lanes.len();
            if let Some((_, attempt)) = self.lanes[self.turn].head.take() {
                self.left -= 1;
                self.refill(self.turn);
                return Some(attempt);
            }
        }
    }

    /// What there was at each cell, for a plan that comes behind this one.
    pub(super) fn so_far(&self, before: &mut SoFar) {
        let known = self.cells.iter().filter_map(|((cell, _), lane)| Some((cell.clone(), self.lanes[*lane].so_far?)));
        for (cell, so_far) in known {
            let kept = before.entry(cell).or_insert(so_far);
            *kept = so_far.max(*kept);
        }
    }

    /// Gives a lane its next head.
    fn refill(&mut self, lane: usize) {
        let known = &mut self.lanes[lane];
        let next = loop {
            match known.todo.pop_front() {
                None => return,
                Some(Todo::One(place, attempt)) => break (place, attempt),
                Some(Todo::Again { orders, cell, round }) => {
                    if let Some(next) = self.orders[orders].attempt(round, cell) {
                        known.todo.push_front(Todo::Again { orders, cell, round: round + 1 });
                        break next;
                    }
                }
            }
        };
        let (place, attempt) = next;
        let number = attempt.number + known.before;
        let attempt =
            if known.before == 0 { attempt } else { Arc::new(Attempt { number, ..Attempt::clone(&attempt) }) };
        known.head = Some((place, attempt));
        self.left += 1;
    }

    fn advance(&mut self, lane: usize) {
        self.refill(lane);
        let known = &self.lanes[lane];
        let Some((_, attempt)) = &known.head else { return };
        let planned = self.begun.1 + attempt.not_before;
        let due = known.paced(attempt).map_or(planned, |due| due.max(planned));
        let due = self.patience(attempt).map_or(due, |end| end.min(due));
        // The clock is asked by whoever asks for the next session.
        self.waiting.push(Reverse((due, lane)));
    }

    fn ready(&mut self, lane: usize) {
        let Some((place, _)) = &self.lanes[lane].head else { return };
        let address = self.lanes[lane].address;
        self.addresses[address].due.push(Reverse((*place, lane)));
        self.settle(address);
    }

    /// Offers an address to its provider, or takes it back, as there is room at it.
    fn settle(&mut self, address: usize) {
        let here = &self.addresses[address];
        let first = here.due.peek().and_then(|Reverse((place, lane))| Some((*place, self.lanes[*lane].head.as_ref()?)));
        let first = first.filter(|(_, (_, attempt))| here.open < attempt.probe.limits.per_address);
        let offered = first.map(|(place, _)| place);
        if offered == here.offered {
            return;
        }
        let offers = &mut self.providers[here.provider].offers;
        here.offered.map(|place| offers.remove(&(place, address)));
        offers.extend(offered.map(|place| (place, address)));
        self.addresses[address].offered = offered;
    }

    /// When the operator's patience with a session's start ends.
    pub(super) fn patience(&self, attempt: &Attempt) -> Option<Instant> {
        attempt.probe.limits.max_time.map(|patience| self.begun.0 + patience)
    }
}
